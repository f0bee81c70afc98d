//! How many people a change of flags moves to another variant.
//!
//! Must not know: where people come from, how a plan is shown.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Action, Plan};
use crate::flags::{Context, EvaluationError, FlagSet, Membership};

/// The cohort members whom a change of one flag moves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Moves {
    /// How many members the program's cohorts have.
    pub members: u64,
    /// How many of them get another variant.
    pub moved: u64,
    /// How many by `from → to`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub changes: BTreeMap<String, u64>,
}

/// A count under way: every flag that a plan changes, before and after.
pub struct Census {
    before: FlagSet,
    after: FlagSet,
    now: Timestamp,
    counted: BTreeMap<String, Moves>,
}

impl Census {
    /// Counts what a plan changes between the published and the wanted definitions of one program.
    pub fn new(
        published: &BTreeMap<String, Value>,
        wanted: &BTreeMap<String, Value>,
        plan: &Plan,
        now: Timestamp,
    ) -> Self {
        let compile = |flags: &BTreeMap<String, Value>| {
            FlagSet::compile(flags.iter().map(|(key, flag)| (key.as_str(), flag)), &|_| None).0
        };
        let keys = plan.actions.iter().filter_map(|action| match action {
            Action::SetFlag { key, .. } => Some((key.clone(), Moves::default())),
            _ => None,
        });
        Self { before: compile(published), after: compile(wanted), now, counted: keys.collect() }
    }

    /// Whether there is nothing to count.
    pub fn is_empty(&self) -> bool {
        self.counted.is_empty()
    }

    /// Counts one member, known by a targeting key alone.
    pub fn count(&mut self, person: &str, membership: &Membership) {
        let Ok(context) = Context::new(json!({ "targetingKey": person })) else { return };
        for (key, moves) in &mut self.counted {
            let given = |set: &FlagSet| match set.evaluate(key, &context, membership, self.now) {
                Ok(answer) if !answer.variant.is_empty() => answer.variant.to_owned(),
                Ok(_) => "nothing".to_owned(),
                Err(EvaluationError::FlagNotFound) => "nothing".to_owned(),
                Err(_) => "an error".to_owned(),
            };
            let (before, after) = (given(&self.before), given(&self.after));
            moves.members += 1;
            if before != after {
                moves.moved += 1;
                *moves.changes.entry(format!("{before} → {after}")).or_default() += 1;
            }
        }
    }

    /// Writes what was counted into the plan.
    pub fn finish(mut self, plan: &mut Plan) {
        for action in &mut plan.actions {
            if let Action::SetFlag { key, moves, .. } = action {
                *moves = self.counted.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Effective;
    use crate::plan::{Observed, plan, text};

    #[test]
    fn a_plan_says_whom_each_changed_flag_moves_and_whether_ramping_up_takes_anyone_away() {
        let flag = |targeting: Value| json!({ "variants": { "on": true, "off": false }, "defaultVariant": "off", "targeting": targeting });
        let share = |on: u32| flag(json!({ "fractional": [["on", on], ["off", 100 - on]] }));
        let cohorts = |names: Value| flag(json!({ "if": [{ "in_cohort": names }, "on", "off"] }));
        let mut effective = Effective::default();
        for (key, wanted) in [
            ("closes", cohorts(json!(["lyon"]))),
            ("fresh", cohorts(json!(["pavia"]))),
            ("ramps", share(60)),
            ("same", share(60)),
        ] {
            effective.flags.insert(key.to_owned(), wanted);
        }
        let mut observed = Observed::default();
        for (key, published) in [
            ("closes", cohorts(json!(["pavia", "lyon"]))),
            ("gone", flag(json!("on"))),
            ("ramps", share(20)),
            ("same", share(60)),
        ] {
            observed.flags.insert(key.to_owned(), published);
        }
        let mut plan = plan(&effective, &BTreeMap::new(), &observed);
        let mut census = Census::new(&observed.flags, &effective.flags, &plan, Timestamp::UNIX_EPOCH);
        let members = Membership::build([("u1", "pavia"), ("u2", "pavia"), ("u3", "lyon")]);
        ["u1", "u2", "u3"].iter().for_each(|person| census.count(person, &members));
        census.finish(&mut plan);
        let moves: BTreeMap<&str, &Moves> = plan
            .actions
            .iter()
            .filter_map(|action| match action {
                Action::SetFlag { key, moves: Some(moves), .. } => Some((key.as_str(), moves)),
                _ => None,
            })
            .collect();
        assert_eq!(moves.keys().copied().collect::<Vec<_>>(), ["closes", "fresh", "gone", "ramps"]);
        assert_eq!((moves["closes"].members, moves["closes"].moved), (3, 2));
        assert_eq!(moves["closes"].changes, [("on → off".to_owned(), 2)].into());
        assert_eq!(moves["fresh"].changes, [("nothing → off".to_owned(), 1), ("nothing → on".to_owned(), 2)].into());
        assert_eq!(moves["gone"].changes, [("on → nothing".to_owned(), 3)].into());
        assert!(!moves["ramps"].changes.contains_key("on → off"));
        let said = text(&plan);
        for line in [
            "~ flag closes: targeting changed\n    moves 2 of 3 cohort members: on → off 2\n",
            "    /targeting: on 20.0 % → 60.0 %: nobody who has it loses it\n",
            "    /targeting: off 80.0 % → 40.0 %: 40.0 % of people lose it\n",
        ] {
            assert!(said.contains(line), "'{line}' is not in\n{said}");
        }
    }
}
