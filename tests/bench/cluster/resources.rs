//! The 10,000 resources: 2,000 flags, 5,000 invites, and what else ten programs of a platform team have; or as large a share of them.
//!
//! Must not know: how they are applied, or what is measured.

use betagate_core::resources::{API_VERSION, Kind};
use serde_json::{Value, json};

const PROGRAMS: usize = 10;

/// Of each program.
const EACH: [(Kind, usize); 8] = [
    (Kind::Cohort, 29),
    (Kind::Gate, 60),
    (Kind::Rollout, 20),
    (Kind::RollbackPlan, 5),
    (Kind::Flag, 200),
    (Kind::Signoff, 150),
    (Kind::Incident, 35),
    (Kind::Invite, 500),
];

/// So many of all of them, in the same proportions.
pub struct Mix(usize);

impl Mix {
    /// As near as it gets to `count` resources.
    pub fn of_count(count: usize) -> Self {
        Self(count)
    }

    /// Of a kind, in each program.
    pub fn of(&self, kind: Kind) -> usize {
        EACH.iter().find(|(one, _)| *one == kind).map_or(1, |(_, count)| (count * self.0 / 10_000).max(1))
    }

    /// All of them; what others name comes first.
    pub fn all(&self) -> Vec<(Kind, Value)> {
        let programs = (0..PROGRAMS).map(|program| {
            let spec =
                json!({ "timeZone": "Europe/Rome", "startsOn": "2026-03-02", "people": { "ana": {}, "ben": {} } });
            (Kind::Program, resource(Kind::Program, &format!("p{program}"), spec))
        });
        let others = EACH.iter().flat_map(|(kind, _)| {
            (0..PROGRAMS)
                .flat_map(move |program| (0..self.of(*kind)).map(move |n| (*kind, self.one(*kind, program, n))))
        });
        programs.chain(others).collect()
    }

    /// One resource of a program, with its own number: one that is there, or a new one.
    pub fn one(&self, kind: Kind, program: usize, n: usize) -> Value {
        let of = |kind| name(kind, program, n % self.of(kind));
        let mut spec = match kind {
            Kind::Cohort => json!({ "members": { "inline": [ { "email": format!("ada{n}@example.com") } ] } }),
            Kind::Gate => json!({
                "owner": "ana",
                "checks": [
                    { "name": "repeat", "kpi": "workout_repeat_rate_w2", "pass": ">= 45%" },
                    { "name": "calm", "incidents": { "severity": "sev-1", "within": "7d" }, "pass": "== 0", "critical": true },
                    { "name": "drill", "description": "The drill reached everybody", "signoff": { "from": ["ana", "ben"] } },
                ],
            }),
            // Its stage waits for a gate, as most do: what is measured is a platform at rest, not one that writes mail.
            Kind::Rollout => json!({
                "stages": [ { "name": "first", "enter": { "gates": [ { "name": of(Kind::Gate) } ] }, "cohorts": [of(Kind::Cohort)] } ],
            }),
            Kind::RollbackPlan => json!({
                "when": [ { "incident": { "severity": "sev-1", "activeFor": "30m" } } ],
                "steps": [ { "freezeInvites": { "cohorts": "all" } }, { "disableFlags": { "keys": [of(Kind::Flag)] } } ],
            }),
            Kind::Flag => return self.flag(program, n, "off"),
            Kind::Signoff => {
                json!({ "by": "ana", "says": "done", "gate": of(Kind::Gate), "check": "drill", "note": "it did" })
            }
            Kind::Incident => json!({
                "severity": "sev-3", "title": "Slow", "startedAt": "2026-03-03T08:00:00Z", "resolvedAt": "2026-03-03T09:00:00Z",
            }),
            _ => json!({
                "cohort": of(Kind::Cohort), "email": format!("tester{n}@gym{program}.example"), "label": "listener", "note": "one of five thousand",
            }),
        };
        spec["program"] = json!(format!("p{program}"));
        resource(kind, &name(kind, program, n), spec)
    }

    /// A flag as it is applied, with one of its variants.
    pub fn flag(&self, program: usize, n: usize, variant: &str) -> Value {
        let cohort = name(Kind::Cohort, program, n % self.of(Kind::Cohort));
        let mut flag = resource(
            Kind::Flag,
            &name(Kind::Flag, program, n),
            json!({
                "description": "One of two thousand", "risk": "high", "type": "boolean", "variants": { "on": true, "off": false },
                "safeVariant": "off", "targeting": { "if": [ { "in_cohort": [cohort] }, "on", "off" ] },
            }),
        );
        flag["spec"]["defaultVariant"] = json!(variant);
        flag["spec"]["program"] = json!(format!("p{program}"));
        flag
    }
}

/// The name of a resource of a program.
fn name(kind: Kind, program: usize, n: usize) -> String {
    format!("p{program}-{}-{n}", kind.name().to_lowercase())
}

fn resource(kind: Kind, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": API_VERSION, "kind": kind.name(), "metadata": { "name": name }, "spec": spec })
}
