//! Which of the sign-offs and incidents that came in elsewhere are to be seen as resources of a cluster.
//!
//! Invites are not: they hold people's addresses, of which a cluster keeps copies (its store, its backups, whoever may read them) that erasing a person
//! does not reach, and they are as many as people. `betagate get cohorts` counts them. Must not know: how a resource is written.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use betagate_core::desired::ProgramDesired;
use betagate_core::resources::{IncidentSpec, Kind};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::Controller;
use super::observe::signoff_fact;
use crate::source::cluster::{Key, Watched};
use crate::status::cluster::Record;
use crate::store::incidents::{DECLARED, Incident};
use crate::store::signoffs::Signoff;

/// An incident that is over is shown for so long, as its status is.
const SHOWN: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Of each kind at most so many of a program, the newest: a cluster is no archive.
const MOST: usize = 500;

impl Controller {
    /// Notes what came in elsewhere, where it is to be seen as resources. What changed is told even where nothing was decided.
    pub(super) fn note_records(&mut self, program: &str, incidents: &[Incident], words: &[Signoff]) {
        if self.teller.is_none() {
            return;
        }
        let records = records_of(incidents, words, self.settings.clock.now());
        let declared = self.built.as_ref().and_then(|built| built.desired.programs.get(program));
        let said = declared.map(|declared| said_elsewhere(incidents, declared)).unwrap_or_default();
        let state = self.programs.entry(program.to_owned()).or_default();
        if state.records.as_ref() != Some(&records) || state.said_elsewhere != said {
            (state.records, state.said_elsewhere) = (Some(records), said);
            self.decided += 1;
        }
    }

    /// The declared incidents whose resources have not changed since their status was written: if their rows differ, somebody said so elsewhere, and the
    /// document is behind.
    pub(super) fn unchanged_incidents(&self, program: &ProgramDesired) -> BTreeSet<String> {
        let Some(watched) = self.settings.source.watched() else { return BTreeSet::new() };
        let unchanged = program.incidents.keys().filter(|name| {
            let seen = watched.resource(Kind::Incident, name);
            seen.is_some_and(|seen| {
                seen.generation.is_some() && seen.status()["observedGeneration"].as_i64() == seen.generation
            })
        });
        unchanged.cloned().collect()
    }

    /// What is to be seen, of all programs. Two programs may have an incident of one name, a namespace has not.
    pub(super) fn records(&self, watched: &Watched) -> BTreeMap<Key, Record> {
        let mut all = BTreeMap::new();
        for (program, state) in &self.programs {
            // Its program's resource is their owner, and there is none without.
            let known = watched.resource(Kind::Program, program).is_some_and(|program| !program.deleting);
            for (key, record) in state.records.iter().flatten().filter(|_| known) {
                match all.entry(key.clone()) {
                    Entry::Vacant(free) => drop(free.insert(record.clone())),
                    Entry::Occupied(_) => {
                        let name = format!("{}.{program}", key.name);
                        all.insert(Key { kind: key.kind, name }, record.clone());
                    }
                }
            }
        }
        all
    }
}

fn records_of(incidents: &[Incident], words: &[Signoff], now: Timestamp) -> BTreeMap<Key, Record> {
    let shown = |incident: &&Incident| {
        let over = incident.resolved_at.is_some_and(|resolved| now.duration_since(resolved) > SHOWN);
        incident.source != DECLARED && !over
    };
    // The lists are in order of time.
    let incidents = incidents.iter().rev().filter(shown).take(MOST);
    let incidents = incidents.map(|one| (Kind::Incident, &one.name, &one.source, incident_spec(one)));
    let words = words.iter().rev().filter(|word| word.source != DECLARED).take(MOST);
    let words = words.filter_map(|one| {
        let spec = signoff_fact(one.clone())?.spec;
        Some((Kind::Signoff, &one.name, &one.source, serde_json::to_value(spec).ok()?))
    });
    let all = incidents.chain(words);
    all.map(|(kind, name, source, spec)| (Key { kind, name: name.clone() }, Record { source: source.clone(), spec }))
        .collect()
}

/// What the rows of declared incidents say that their documents don't: that they are over, that somebody took note.
fn said_elsewhere(incidents: &[Incident], program: &ProgramDesired) -> BTreeMap<Key, Value> {
    let declared = incidents.iter().filter(|incident| incident.source == DECLARED);
    let differing = declared.filter_map(|incident| {
        let spec = &program.incidents.get(&incident.name)?.spec;
        let resolved = incident.resolved_at.filter(|_| spec.resolved_at.is_none());
        let noted = incident.acknowledged_at.filter(|_| spec.acknowledged_at.is_none());
        let fields = [("resolvedAt", resolved), ("acknowledgedAt", noted)];
        let fields: Map<String, Value> =
            fields.into_iter().filter_map(|(field, at)| Some((field.to_owned(), json!(at?)))).collect();
        let key = Key { kind: Kind::Incident, name: incident.name.clone() };
        (!fields.is_empty()).then_some((key, Value::Object(fields)))
    });
    differing.collect()
}

fn incident_spec(incident: &Incident) -> Value {
    let spec = IncidentSpec {
        program: incident.program.clone(),
        severity: incident.severity.clone(),
        category: (!incident.category.is_empty()).then(|| incident.category.clone()),
        title: incident.title.clone(),
        started_at: incident.started_at,
        resolved_at: incident.resolved_at,
        acknowledged_at: incident.acknowledged_at,
    };
    serde_json::to_value(spec).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use betagate_core::resources::SignoffSpec;

    use super::*;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_772_000_000 + hour * 3600).unwrap()
    }

    fn incident(name: &str, source: &str, resolved: Option<i64>) -> Incident {
        Incident {
            program: "kruxt".into(),
            name: name.into(),
            severity: "sev-2".into(),
            category: String::new(),
            title: "Sync is slow".into(),
            started_at: at(0),
            resolved_at: resolved.map(at),
            acknowledged_at: None,
            source: source.into(),
            first_seen: at(0),
        }
    }

    #[test]
    fn what_came_in_elsewhere_is_shown_while_it_is_news() {
        let incidents = [
            incident("declared", "document", None),
            incident("open", "alertmanager", None),
            incident("over", "api", Some(1)),
        ];
        let lift =
            |source: &str| Signoff::recorded(source, &SignoffSpec::lift("kruxt", "ana", "r", "n"), at(0), source, "");
        let words = [lift("document"), lift("api")];
        let names = |now| {
            let shown = records_of(&incidents, &words, now);
            shown.keys().map(|key| format!("{}/{}", key.kind, key.name)).collect::<Vec<_>>()
        };
        assert_eq!(names(at(2)), ["Incident/open", "Incident/over", "Signoff/api"]);
        assert_eq!(names(at(8 * 24)), ["Incident/open", "Signoff/api"]);
        let shown = records_of(&incidents, &words, at(2));
        let open = &shown[&Key { kind: Kind::Incident, name: "open".into() }];
        assert_eq!(open.source, "alertmanager");
        assert_eq!(open.spec["title"], "Sync is slow");
        assert!(open.spec.get("resolvedAt").is_none() && open.spec.get("category").is_none());
    }
}
