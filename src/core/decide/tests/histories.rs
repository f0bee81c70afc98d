//! Random histories: whatever comes in whatever order, what must never be never is.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Happening {
    Minutes(u16),
    Sync(u16),
    Everything,
    Down(u8),
    Up(u8),
    FlagTurnedOn,
    FlagRemoved,
    FlagHarmless,
    FlagBack,
    PlanEmptied,
    Says(u8),
    DocumentsComplete,
    ApiFollows(bool),
    FrozenByHand,
    StartedByHand(bool),
    Crash,
    ClockBack(u16),
    Unknown,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (1_u16..3000).prop_map(Happening::Minutes),
        3 => (900_u16..1000).prop_map(Happening::Sync),
        3 => Just(Happening::Everything),
        2 => (0_u8..3).prop_map(Happening::Down),
        2 => (0_u8..3).prop_map(Happening::Up),
        1 => Just(Happening::FlagTurnedOn),
        1 => Just(Happening::FlagRemoved),
        1 => Just(Happening::FlagHarmless),
        1 => Just(Happening::FlagBack),
        1 => Just(Happening::PlanEmptied),
        2 => (0_u8..6).prop_map(Happening::Says),
        1 => Just(Happening::DocumentsComplete),
        1 => any::<bool>().prop_map(Happening::ApiFollows),
        1 => Just(Happening::FrozenByHand),
        1 => any::<bool>().prop_map(Happening::StartedByHand),
        2 => Just(Happening::Crash),
        1 => (1_u16..600).prop_map(Happening::ClockBack),
        1 => Just(Happening::Unknown),
    ]
}

fn is_commit(happening: &Happening) -> bool {
    use Happening::{FlagBack, FlagHarmless, FlagRemoved, FlagTurnedOn, PlanEmptied};
    matches!(happening, FlagTurnedOn | FlagRemoved | FlagHarmless | FlagBack | PlanEmptied)
}

fn happen(world: &mut World, happening: &Happening, place: usize) {
    match happening {
        Happening::Minutes(minutes) => world.advance(SignedDuration::from_mins(i64::from(*minutes))),
        Happening::Sync(ok) => world.measure("sync", i64::from(*ok), 1000),
        Happening::Everything => world.healthy(),
        Happening::Down(name) => {
            let started = world.now.to_string();
            world.incident(&format!("down-{name}-{place}"), &started);
        }
        Happening::Up(name) => {
            let now = world.now;
            let open = world.readings.incidents.iter_mut().filter(|incident| incident.resolved_at.is_none());
            open.filter(|incident| incident.name.starts_with(&format!("down-{name}")))
                .for_each(|incident| incident.resolved_at = Some(now));
        }
        Happening::FlagTurnedOn => {
            if let Some(flag) = world.desired.flags.get_mut("boost") {
                flag.spec.safe_variant = Some("on".to_owned());
                flag.spec.targeting = Some(serde_json::json!({ "if": [true, "on"] }));
            }
        }
        Happening::FlagHarmless => {
            if let Some(flag) = world.desired.flags.get_mut("boost") {
                flag.spec.risk = crate::resources::Risk::Low;
                flag.spec.fallback = None;
            }
        }
        Happening::FlagRemoved => drop(world.desired.flags.remove("boost")),
        Happening::FlagBack => world.desired.flags = super::world().desired.flags,
        Happening::PlanEmptied => world.desired.plans.values_mut().for_each(|plan| plan.spec.steps.truncate(1)),
        Happening::Says(which) => {
            let run = world.memory.runs.keys().next_back().cloned().unwrap_or_default();
            let spec = match which {
                0 => "{program: beta, by: founder, says: go, rollout: closed, stage: wide}".to_owned(),
                1 => "{program: beta, by: ops, says: go, rollout: closed, stage: wide}".to_owned(),
                2 => "{program: beta, by: ops, says: no-go, rollout: closed, stage: wide}".to_owned(),
                3 => "{program: beta, by: founder, says: go, rollout: closed, stage: pilot}".to_owned(),
                _ => format!("{{program: beta, by: founder, says: lift, run: '{run}'}}"),
            };
            world.says(&format!("word-{place}"), &spec);
        }
        Happening::DocumentsComplete => world.complete_documents(),
        Happening::ApiFollows(follows) => world.api_follows = *follows,
        Happening::StartedByHand(further) => {
            let plan = if *further { "further" } else { "pull-back" };
            let what = RequestKind::StartRollback { plan: plan.to_owned(), reason: "by hand".to_owned() };
            world.readings.requests.push(Request { id: format!("request-{place}"), what, by: "founder".to_owned() });
        }
        // What was decided is lost before any of it was carried out; or it was carried out, and nobody remembers.
        Happening::Crash => {
            let revision = Revision { id: "r1".to_owned(), ..Revision::default() };
            let decision = decide(&world.desired, &revision, &world.readings, &world.memory, world.now);
            drop(decision);
        }
        Happening::ClockBack(minutes) => world.advance(SignedDuration::from_mins(-i64::from(*minutes))),
        Happening::Unknown => {
            for check in ["sync", "booking", "retention"] {
                let reading = Reading::unknown(Why::NoData, world.now);
                world.readings.checks.insert(CheckRef::new("kpis", check), reading);
            }
        }
        Happening::FrozenByHand => {
            let (holder, reason, since) = ("hand:ops".to_owned(), "by hand".to_owned(), world.now);
            world.readings.freezes.push(FreezeFact { cohort: None, holder, reason, since });
        }
    }
}

fn holding(world: &World) -> Vec<(String, usize)> {
    let runs = world.memory.runs.iter().filter(|(_, run)| run.in_force());
    runs.flat_map(|(id, run)| {
        run.steps.iter().enumerate().filter(|(_, s)| s.holds()).map(move |(n, _)| (id.clone(), n))
    })
    .collect()
}

fn what_must_never_be(world: &World, clock_runs: bool) -> Result<(), TestCaseError> {
    let effective = &world.last.effective;
    for (id, run) in world.memory.runs.iter().filter(|(_, run)| run.in_force()) {
        for (place, step) in run.steps.iter().enumerate().filter(|(_, step)| step.holds()) {
            let holder = holder(id, place);
            if step.step.freeze_invites.is_some() {
                prop_assert!(effective.freezes.contains_key(&(None, holder.clone())), "{holder} does not freeze");
            }
            if let (Some(_), Some(kept)) = (&step.step.disable_flags, run.held_flags.get("boost")) {
                // Safe is what was safe when the oldest hold that stands began, whatever a later commit says.
                let flag = &effective.flags["boost"];
                let variant = flag["hold"]["variant"].as_str().unwrap_or_default();
                let safe = &kept["variants"][kept["safeVariant"].as_str().unwrap_or_default()];
                prop_assert!(&flag["variants"][variant] == safe, "a held flag is not safe: {flag}");
            }
            if step.routed.contains_key("boost") {
                let flag = &effective.flags["boost"];
                prop_assert!(flag["routed"] == true && flag["fallback"] == "/classic", "a routed flag is free: {flag}");
            }
        }
        further_steps_hold(world, id, run)?;
        // Strictly in order: nothing is in force behind a step that waits.
        let first_waiting =
            run.steps.iter().position(|step| step.state == StepState::Waiting).unwrap_or(run.steps.len());
        prop_assert!(run.steps[first_waiting..].iter().all(|step| !step.holds()), "{id} is out of order");
        let in_force: Vec<_> = run.steps[..first_waiting].iter().filter_map(|step| step.in_force_at).collect();
        if run.episodes.len() == 1 && clock_runs {
            prop_assert!(in_force.windows(2).all(|pair| pair[0] <= pair[1]), "{id} came into force out of order");
        }
    }
    Ok(())
}

/// What the further steps of a run in force hold, is held; who serves what is always online goes on running.
fn further_steps_hold(world: &World, id: &str, run: &RunMemory) -> Result<(), TestCaseError> {
    let effective = &world.last.effective;
    for (place, step) in run.steps.iter().enumerate().filter(|(_, step)| step.holds()) {
        let holder = holder(id, place);
        if step.step.pause_ingestion.is_some() {
            prop_assert!(effective.pauses.contains_key(&holder), "{holder} does not pause");
        }
        if step.step.revoke_invites.is_some() {
            prop_assert!(world.readings.effects.contains(&format!("{holder}/*")), "{holder} took nothing back");
        }
        if step.step.scale_workload.is_some() {
            let held = effective.workloads.get("worker").and_then(|hold| hold.replicas);
            prop_assert_eq!(held, Some(0), "a workload runs that is held at none");
        }
    }
    prop_assert!(world.readings.workloads["api"].replicas > 0, "an always-online route is down");
    prop_assert!(world.readings.online["privacy"].up, "an always-online route is down");
    Ok(())
}

/// No review that was sealed as passed rests on something mandatory that was not known.
fn no_pass_rests_on_an_unknown(world: &World) -> Result<(), TestCaseError> {
    let passed = |review: &&SealedReview| matches!(review.verdict.verdict, Verdict::Pass | Verdict::Conditional);
    for review in world.sealed.iter().filter(passed) {
        let unknown = review.verdict.checks.iter().find(|check| check.state == CheckState::Unknown);
        prop_assert!(unknown.is_none(), "a review passed on an unknown: {unknown:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: soak(64), ..ProptestConfig::default() })]

    #[test]
    fn no_history_leads_to_what_must_never_be(history in prop::collection::vec(happening(), 1..60)) {
        let mut world = world();
        put(&mut world.desired.workloads, "api", "{program: beta, component: api, replicas: 1}");
        put(&mut world.desired.workloads, "worker", "{program: beta, component: worker, replicas: 2}");
        put(
            &mut world.desired.plans,
            "further",
            "{program: beta, steps: [{pauseIngestion: {}}, {revokeInvites: {}}, {scaleWorkload: {workload: worker, replicas: 0}},
              {restartWorkload: {workload: api}}, {disableFlags: {keys: [boost]}}, {runJob: {command: [mend]}}]}",
        );
        world.settle();
        let clock_runs = !history.iter().any(|happening| matches!(happening, Happening::ClockBack(_)));
        for (place, happening) in history.iter().enumerate() {
            let stage = world.memory.rollouts["closed"].current.clone();
            let (held, in_force) = (holding(&world), world.memory.runs.values().any(RunMemory::in_force));
            happen(&mut world, happening, place);
            world.settle();
            what_must_never_be(&world, clock_runs)?;
            no_pass_rests_on_an_unknown(&world)?;
            let mut sent: Vec<&str> = world.messages.iter().map(|message| message.effect_key.as_str()).collect();
            sent.retain(|key| key.ends_with("/job"));
            let distinct: std::collections::BTreeSet<_> = sent.iter().collect();
            prop_assert_eq!(distinct.len(), sent.len(), "a step's command was asked for twice");
            let now = world.memory.rollouts["closed"].current.clone();
            if is_commit(happening) {
                let after = holding(&world);
                prop_assert!(held.iter().all(|hold| after.contains(hold)), "a commit lifted a hold");
            }
            if now != stage {
                prop_assert!(!in_force || !world.memory.runs.values().any(RunMemory::in_force), "a stage opened during a rollback");
                prop_assert!(now.is_some(), "a stage went back");
                if now.as_deref() == Some("wide") {
                    prop_assert!(world.memory.gates["kpis"].passes_in_row >= 1, "a stage opened without its review");
                }
            }
        }
    }
}

/// More cases for a longer soak: `BETAGATE_SOAK=N` multiplies them.
fn soak(cases: u32) -> u32 {
    let times = std::env::var("BETAGATE_SOAK").ok().and_then(|times| times.parse::<u32>().ok()).unwrap_or(1);
    cases.saturating_mul(times.max(1))
}
