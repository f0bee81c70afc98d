//! The effective state: what Git wants and the holds allow, the more restrictive of both (product page, "Holds").
//!
//! Must not know: what is so already (that is `plan`'s).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{
    CohortState, Effective, Restore, Revocation,
    datasets::restore_key,
    pass::Pass,
    run::{holder, standing},
    stage::current,
    stage_versions,
    verify::revocation_key,
    workload_holds,
};
use crate::resources::{Action, Edge, FlagSpec, Names, ScheduledChange, Undo};

impl Pass<'_> {
    /// What should be so, from the stages that are open and the steps that are in force.
    pub fn effective(&self) -> Effective {
        let mut effective = Effective {
            cohorts: self.cohorts(),
            versions: stage_versions(self.program, &self.memory.rollouts),
            reviews_held: self.reviews_held(),
            workloads: workload_holds(&self.memory.runs),
            datasets: self.dataset_holds(),
            ..Effective::default()
        };
        for (key, flag) in &self.program.flags {
            effective.flags.insert(key.clone(), self.definition(&flag.spec));
        }
        self.stage_flags(&mut effective.flags);
        self.holds(&mut effective);
        self.invariants(&mut effective.flags);
        effective
    }

    fn cohorts(&self) -> BTreeMap<String, CohortState> {
        let open: BTreeSet<String> = self.open_cohorts().into_iter().collect();
        let mut before = open.clone();
        for (name, rollout) in &self.program.rollouts {
            let opened = self.memory.rollouts.get(name).map(|memory| &memory.opened);
            let stages = rollout
                .spec
                .stages
                .iter()
                .filter(|stage| opened.is_some_and(|opened| opened.contains_key(&stage.name)));
            before.extend(stages.flat_map(|stage| stage.cohorts.iter().cloned()));
        }
        let state = |name: &String| CohortState { open: open.contains(name), opened_before: before.contains(name) };
        self.program.cohorts.keys().map(|name| (name.clone(), state(name))).collect()
    }

    /// A flag's definition, in the form that `flags` compiles: flagd's, and betagate's fields beside it.
    pub fn definition(&self, spec: &FlagSpec) -> Value {
        let mut flag = Map::new();
        let mut put = |name: &str, value: Value| {
            if !value.is_null() {
                flag.insert(name.to_owned(), value);
            }
        };
        put("type", json!(spec.r#type));
        put("state", json!(spec.state));
        put("variants", json!(spec.variants));
        put("defaultVariant", json!(spec.default_variant));
        put("targeting", spec.targeting.clone().unwrap_or_default());
        if !spec.schedule.is_empty() {
            put("schedule", spec.schedule.iter().map(|change| self.scheduled(change)).collect());
        }
        if !spec.metadata.is_empty() {
            put("metadata", json!(spec.metadata));
        }
        if !spec.evaluators.is_empty() {
            put("$evaluators", json!(spec.evaluators));
        }
        put("risk", json!(spec.risk));
        put("bucketing", json!(spec.bucketing));
        put("bucketSeed", json!(spec.bucket_seed));
        if !spec.requires.is_empty() {
            put("requires", json!(spec.requires));
        }
        put("safeVariant", json!(spec.safe_variant));
        put("fallback", json!(spec.fallback));
        put("env", json!(spec.env));
        put("program", json!(self.program.name()));
        put("commit", json!(self.revision.id));
        Value::Object(flag)
    }

    /// A scheduled change with instants: whoever evaluates knows no zone.
    fn scheduled(&self, change: &ScheduledChange) -> Value {
        let mut window = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            window.extend(value.map(|value| (name.to_owned(), value)));
        };
        put("from", change.from.map(|from| json!(self.resolve(from, Edge::Start))));
        put("until", change.until.map(|until| json!(self.resolve(until, Edge::End))));
        put("variant", change.variant.as_ref().map(|variant| json!(variant)));
        put("targeting", change.targeting.clone());
        Value::Object(window)
    }

    fn stage_flags(&self, flags: &mut BTreeMap<String, Value>) {
        for (name, rollout) in &self.program.rollouts {
            let Some(stage) = current(self.memory.rollouts.get(name), &rollout.spec) else { continue };
            for (key, wanted) in &stage.flags {
                if let Some(Value::Object(flag)) = flags.get_mut(key) {
                    let mut said = json!({ "variant": wanted.variant(), "rollout": name, "stage": stage.name });
                    if let Some(ramp) = wanted.ramp() {
                        said["percent"] = json!(self.share(name, &stage.name, key, ramp));
                    }
                    flag.insert("stage".to_owned(), said);
                }
            }
        }
    }

    fn invariants(&self, flags: &mut BTreeMap<String, Value>) {
        for invariant in &self.program.program.spec.invariants {
            let Some(Value::Object(flag)) = flags.get_mut(&invariant.flag) else { continue };
            let variants = flag.get("variants").and_then(Value::as_object);
            let variant = variants
                .and_then(|v| v.iter().find(|(_, value)| **value == invariant.is))
                .map(|(name, _)| name.clone());
            if let Some(variant) = variant {
                flag.insert("invariant".to_owned(), json!(variant));
            }
        }
    }

    fn holds(&self, effective: &mut Effective) {
        let mut routes = Vec::new();
        for (id, run, place, step) in standing(&self.memory.runs) {
            let reason = run.episodes.last().map(|episode| episode.reason.clone()).unwrap_or_default();
            let holder = holder(id, place);
            match step.step.action() {
                Some(Action::FreezeInvites(freeze)) => {
                    let cohorts: Vec<Option<String>> = match &freeze.cohorts {
                        Names::All => vec![None],
                        Names::Listed(names) => names.iter().cloned().map(Some).collect(),
                    };
                    for cohort in cohorts {
                        effective.freezes.insert((cohort, holder.clone()), reason.clone());
                    }
                }
                Some(Action::DisableFlags(disable)) => {
                    for key in &disable.keys {
                        let hold = json!({ "run": id, "step": place + 1, "reason": reason });
                        hold_flag(&mut effective.flags, key, run.held_flags.get(key), &hold);
                    }
                    effective.flag_holds.insert(holder);
                }
                Some(Action::RouteToFallback(_)) => {
                    routes.push((id, run, place, step));
                    effective.flag_holds.insert(holder);
                }
                Some(Action::RevokeInvites(revoke)) => {
                    let cohorts: Vec<Option<String>> = match &revoke.cohorts {
                        Names::All => vec![None],
                        Names::Listed(names) => names.iter().cloned().map(Some).collect(),
                    };
                    for cohort in cohorts {
                        let key = revocation_key(&holder, cohort.as_deref());
                        let (holder, reason) = (holder.clone(), reason.clone());
                        effective.revocations.insert(key, Revocation { cohort, holder, reason });
                    }
                }
                Some(Action::RestoreDataset(restore)) => {
                    let how = step.target.as_deref().and_then(Undo::named);
                    let key = restore_key(&holder, &restore.dataset);
                    let dataset = restore.dataset.clone();
                    let restore = how.map(|how| Restore { dataset, how, holder, reason: reason.clone() });
                    effective.restores.extend(restore.map(|restore| (key, restore)));
                }
                Some(Action::PauseIngestion(_)) => drop(effective.pauses.insert(holder, reason.clone())),
                _ => {}
            }
        }
        // After the holds, of which one may serve a flag from its kept definition.
        for (id, run, place, step) in routes {
            for key in self.held_keys(id, place) {
                route_flag(&mut effective.flags, &key, run.held_flags.get(&key), step.routed.get(&key));
            }
        }
    }
}

/// Routes a flag to its fallback. One that was deleted or renamed is served from its kept definition, one that lost its fallback goes where it went.
fn route_flag(flags: &mut BTreeMap<String, Value>, key: &str, kept: Option<&Value>, fallback: Option<&String>) {
    if !flags.contains_key(key) {
        let Some(kept) = kept else { return };
        flags.insert(key.to_owned(), kept.clone());
    }
    let Some(Value::Object(flag)) = flags.get_mut(key) else { return };
    if let Some(fallback) = fallback.filter(|_| !flag.contains_key("fallback")) {
        flag.insert("fallback".to_owned(), json!(fallback));
    }
    flag.insert("routed".to_owned(), Value::Bool(true));
}

/// Holds a flag at its safe variant; the oldest hold stays. One that was deleted or renamed is served from its kept definition.
fn hold_flag(flags: &mut BTreeMap<String, Value>, key: &str, kept: Option<&Value>, hold: &Value) {
    if !flags.contains_key(key) {
        let Some(kept) = kept else { return };
        flags.insert(key.to_owned(), kept.clone());
    }
    let Some(Value::Object(flag)) = flags.get_mut(key) else { return };
    if flag.contains_key("hold") {
        return;
    }
    // A commit can take the safe variant away while the flag is held: the one that was known when the hold began counts then.
    let variants_have =
        |flag: &Map<String, Value>, name: &str| flag.get("variants").is_some_and(|v| v.get(name).is_some());
    let safe_of = |flag: &Map<String, Value>| flag.get("safeVariant").and_then(Value::as_str).map(str::to_owned);
    let own = safe_of(flag).filter(|safe| variants_have(flag, safe));
    let kept_flag = kept.and_then(Value::as_object);
    let kept_safe = kept_flag.and_then(safe_of);
    // The safe variant as it was when the hold began wins over a later commit's, which could name a dangerous one "safe".
    let same_value = |safe: &str| {
        kept_flag.is_some_and(|kept| kept["variants"].get(safe) == flag.get("variants").and_then(|v| v.get(safe)))
    };
    let variant = match kept_safe {
        Some(safe) if same_value(&safe) => safe,
        Some(safe) => {
            if let Some(kept) = kept_flag {
                *flag = kept.clone();
            }
            safe
        }
        None => match own {
            Some(safe) => safe,
            None => return,
        },
    };
    let mut hold = hold.clone();
    hold["variant"] = json!(variant);
    flag.insert("hold".to_owned(), hold);
}
