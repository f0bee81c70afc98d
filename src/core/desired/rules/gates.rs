//! Gates: what checks name, and the order in which gates seal.

use std::collections::{BTreeMap, BTreeSet};

use super::{Rules, is_variable, token};
use crate::{
    desired::{ProgramDesired, circles::circles, documents::Documents, error::Problem},
    resources::{Check, FunnelStep, Kind, Unit},
};

/// The KPIs of seed 002, section 2.
pub const KPIS: &[&str] = &[
    "workout_repeat_rate_w2",
    "feed_interactions_per_active_user",
    "class_booking_completion",
    "retention_w4",
    "chain_survival_rate",
    "gym_weekly_active_staff_rate",
    "sync_success_rate",
    "sev1_incidents",
];

/// What betagate itself knows, for `fact:` checks.
pub const FACTS: &[&str] = &[
    "audit.intact",
    "call.decided",
    "cohort.outcome",
    "compliance.breaches",
    "dataset.published",
    "dataset.rows",
    "duty.holes",
    "flag.value",
    "funnel.active",
    "funnel.invited",
    "funnel.opened",
    "funnel.sent",
    "funnel.used",
    "invites.arrival",
    "invites.bounced",
    "invites.failed",
    "invites.sent",
    "invites.uncertain",
    "migration.applied",
    "rehearsal.age",
    "workload.ready",
];

/// Gates in the order in which they seal: one that reads another comes after it. Cycles are named.
pub(super) fn order(program: &ProgramDesired, documents: &Documents, problems: &mut Vec<Problem>) -> Vec<String> {
    let mut waiting: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, gate) in &program.gates {
        let read = gate.spec.checks.iter().filter_map(|check| check.gate.as_ref().map(|gate| gate.name.as_str()));
        waiting.insert(name, read.filter(|other| program.gates.contains_key(*other)).collect());
    }
    let mut order: Vec<String> = Vec::new();
    while let Some(next) =
        waiting.iter().find(|(_, needs)| needs.iter().all(|need| !waiting.contains_key(need))).map(|(n, _)| *n)
    {
        waiting.remove(next);
        order.push(next.to_owned());
    }
    for circle in circles(&waiting) {
        problems.extend(circle_problem(program, documents, &circle));
    }
    order
}

fn circle_problem(program: &ProgramDesired, documents: &Documents, circle: &[&str]) -> Option<Problem> {
    let (first, next) = (circle.first()?, circle.get(1).or(circle.first())?);
    let checks = &program.gates.get(*first)?.spec.checks;
    let place = checks.iter().position(|check| check.gate.as_ref().is_some_and(|gate| gate.name == *next))?;
    let message = format!("gates read each other in a circle: {} → {first}", circle.join(" → "));
    Some(documents.get(Kind::Gate, first)?.problem(&format!("/spec/checks/{place}/gate/name"), message))
}

impl Rules<'_> {
    pub(super) fn gates(&mut self) {
        for (name, gate) in &self.program.gates {
            let document = self.document(Kind::Gate, name);
            if let Some(owner) = &gate.spec.owner {
                self.person(document, "/spec/owner", owner);
            }
            for (place, cohort) in gate.spec.cohorts.iter().enumerate() {
                self.resource(document, &format!("/spec/cohorts/{place}"), Kind::Cohort, cohort);
            }
            self.lasting(document, "/spec/measure/every", gate.spec.measure.as_ref().map(|measure| measure.every));
            let mitigable = gate.spec.checks.iter().filter(|check| !check.critical).count();
            if gate.spec.conditional.as_ref().is_some_and(|conditional| conditional.missed as usize > mitigable) {
                let message = format!("only {mitigable} checks are not critical, so no more than that can be missed");
                self.warning(document, "/spec/conditional/missed", message);
            }
            self.phases(name, &gate.spec);
            let mut seen = BTreeSet::new();
            for (place, check) in gate.spec.checks.iter().enumerate() {
                let pointer = format!("/spec/checks/{place}");
                if !seen.insert(check.name.as_str()) {
                    self.problem(
                        document,
                        &format!("{pointer}/name"),
                        format!("there is already a check '{}' in this gate", check.name),
                    );
                }
                self.check(name, check, &pointer);
            }
        }
    }

    fn check(&mut self, gate: &str, check: &Check, pointer: &str) {
        let document = self.document(Kind::Gate, gate);
        let kinds = [
            check.kpi.is_some(),
            check.sql.is_some(),
            check.prometheus.is_some(),
            check.http.is_some(),
            check.incidents.is_some(),
            check.gate.is_some(),
            check.job.is_some(),
            check.fact.is_some(),
            check.signoff.is_some(),
        ];
        let count = kinds.iter().filter(|given| **given).count();
        if count != 1 {
            let message = format!(
                "check '{}' is {count} kinds; it is exactly one of kpi, sql, prometheus, http, incidents, gate, job, fact, signoff",
                check.name
            );
            self.problem(document, pointer, message);
        }
        if check.pass.is_none() && check.gate.is_none() && check.signoff.is_none() && check.job.is_none() && count == 1
        {
            self.problem(document, pointer, format!("check '{}' needs pass, such as \">= 45%\"", check.name));
        }
        self.reachable(document, check, pointer);
        if check.lasting.is_some() && !check.critical {
            self.problem(
                document,
                &format!("{pointer}/for"),
                "`for` is only for critical checks: it says how long a miss lasts before it is Fail",
            );
        }
        if let Some(kpi) = &check.kpi {
            self.known(document, &format!("{pointer}/kpi"), "KPI", kpi, KPIS.iter().copied());
        }
        if let Some(fact) = &check.fact {
            self.known(document, &format!("{pointer}/fact"), "fact", fact, FACTS.iter().copied());
            self.about(gate, fact, check.of.as_deref(), pointer);
        } else if check.of.is_some() {
            self.problem(document, &format!("{pointer}/of"), "`of` is only for facts");
        }
        self.funnel(gate, check, pointer);
        self.counts(gate, check, pointer);
        self.in_phase(gate, check, pointer);
        self.versus(gate, check, pointer);
        self.job(gate, check, pointer);
        if let Some(severity) = check.incidents.as_ref().and_then(|incidents| incidents.severity.as_ref()) {
            self.severity(document, &format!("{pointer}/incidents/severity"), severity);
        }
        if check.source.is_some() && check.prometheus.is_none() && count == 1 {
            self.problem(document, &format!("{pointer}/source"), "`source` here is only for prometheus checks");
        }
        if let Some(sql) = check.sql.as_ref().filter(|sql| sql.source != "betagate") {
            self.source(document, &format!("{pointer}/sql/source"), &sql.source, "a database", |source| {
                source.database.is_some()
            });
        }
        if let Some(http) = &check.http {
            self.source(document, &format!("{pointer}/http/source"), &http.source, "an HTTP host", |source| {
                source.http.is_some()
            });
        }
        if check.prometheus.is_some() && !self.doubted("/spec/sources/*/prometheus") {
            self.prometheus(gate, check, pointer);
        }
        if let Some(other) = &check.gate {
            self.resource(document, &format!("{pointer}/gate/name"), Kind::Gate, &other.name);
            self.phases_read(document, &format!("{pointer}/gate"), &other.name, &other.phases);
        }
        for (place, person) in check.signoff.iter().flat_map(|signoff| signoff.from.iter().enumerate()) {
            self.person(document, &format!("{pointer}/signoff/from/{place}"), person);
        }
    }

    /// Where there are two counts, and whether samples can be counted at all.
    fn counts(&mut self, gate: &str, check: &Check, pointer: &str) {
        let document = self.document(Kind::Gate, gate);
        if check.per.is_some() && check.prometheus.is_none() {
            self.problem(document, &format!("{pointer}/per"), "`per` here is only for prometheus checks");
        }
        if let Some(http) = check.http.as_ref().filter(|http| http.per.is_some()) {
            let at = format!("{pointer}/http/per");
            if http.pointer.is_none() {
                self.problem(document, &at, "`per` needs `pointer`: what is above the line");
            } else if http.is.is_some() {
                self.problem(
                    document,
                    &at,
                    "`per` makes a ratio of two numbers, `is` compares one value: give one of them",
                );
            }
        }
        let counted = check.kpi.is_some()
            || check.sql.is_some()
            || check.job.is_some()
            || check.out_of.is_some()
            || check.per.is_some()
            || check.http.as_ref().is_some_and(|http| http.per.is_some());
        if check.min_samples.is_some() && !counted {
            let message = "nothing tells how many samples the value rests on: `minSamples` is for ratios (kpi, sql with numerator and \
                denominator, prometheus and http with `per`, funnels with `outOf`, jobs)";
            self.problem(document, &format!("{pointer}/minSamples"), message);
        }
    }

    fn job(&mut self, gate: &str, check: &Check, pointer: &str) {
        let document = self.document(Kind::Gate, gate);
        let Some(job) = &check.job else { return };
        self.command(document, &format!("{pointer}/job"), &job.command, job.timeout);
        for (field, names) in [("env", job.env.keys()), ("secretEnv", job.secret_env.keys())] {
            for variable in names {
                let place = format!("{pointer}/job/{field}/{}", token(variable));
                let message = if !is_variable(variable) {
                    format!("'{variable}' is no name for an environment variable")
                } else if field == "secretEnv" && job.env.contains_key(variable) {
                    format!("'{variable}' stands in env too")
                } else {
                    continue;
                };
                self.problems.extend(document.map(|document| document.problem_at_key(&place, message)));
            }
        }
    }

    /// What a fact is about must be there.
    fn about(&mut self, gate: &str, fact: &str, of: Option<&str>, pointer: &str) {
        let document = self.document(Kind::Gate, gate);
        let (kind, needed) = match fact {
            "flag.value" => (Kind::Flag, true),
            "cohort.outcome" => (Kind::Cohort, true),
            "workload.ready" => (Kind::Workload, true),
            "dataset.published" | "dataset.rows" => (Kind::Dataset, true),
            "call.decided" => (Kind::Rollout, false),
            "rehearsal.age" => (Kind::RollbackPlan, false),
            "invites.arrival" => (Kind::Cohort, true),
            _ if fact.starts_with("funnel.") || fact.starts_with("invites.") => (Kind::Cohort, false),
            _ => return,
        };
        match of {
            Some(of) => {
                self.resource(document, &format!("{pointer}/of"), kind, of);
            }
            None if needed => {
                let message = format!("the fact '{fact}' needs `of`: the name of a {}", kind.name().to_lowercase());
                self.problem(document, &format!("{pointer}/fact"), message);
            }
            None => {}
        }
    }

    /// A funnel's count of a label, or as a share of an earlier step.
    fn funnel(&mut self, gate: &str, check: &Check, pointer: &str) {
        let document = self.document(Kind::Gate, gate);
        let Some(step) = check.fact.as_deref().and_then(FunnelStep::of_fact) else {
            for (field, given) in [("label", check.label.is_some()), ("outOf", check.out_of.is_some())] {
                if given {
                    self.problem(
                        document,
                        &format!("{pointer}/{field}"),
                        format!("`{field}` is only for funnel facts"),
                    );
                }
            }
            return;
        };
        let percent = check.pass.as_ref().is_some_and(|pass| pass.unit == Unit::Percent);
        match check.out_of {
            Some(of) if of >= step => {
                let message = "a step is a share of an earlier one: invited, sent, opened, used, active";
                self.problem(document, &format!("{pointer}/outOf"), message);
            }
            None if percent => {
                let message = "per cent of what? Say outOf: invited, sent, opened or used";
                self.problem(document, &format!("{pointer}/pass"), message);
            }
            _ => {}
        }
    }

    fn prometheus(&mut self, gate: &str, check: &Check, pointer: &str) {
        let document = self.document(Kind::Gate, gate);
        let sources = &self.program.program.spec.sources;
        if let Some(name) = &check.source {
            self.source(document, &format!("{pointer}/source"), name, "a Prometheus server", |source| {
                source.prometheus.is_some()
            });
        } else {
            let known = sources.values().filter(|source| source.prometheus.is_some()).count();
            if known > 1 {
                self.problem(document, pointer, "the program has several Prometheus sources: name one with `source`");
            } else if known == 0 && !self.options.default_prometheus {
                self.problem(document, pointer, "the program has no Prometheus source, and PROM_URL is not set");
            }
        }
    }
}
