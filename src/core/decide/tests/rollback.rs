//! Runs: order, verification, holds, episodes, re-opening, lifting.

use super::*;

const RUN: &str = "pull-back-1";

fn failed_on_sync() -> World {
    let mut world = world();
    world.healthy();
    world.settle();
    world.measure("sync", 949, 1000);
    world.settle();
    world
}

#[test]
fn a_critical_fail_brings_the_seven_steps_into_force_in_order_each_verified() {
    let world = failed_on_sync();
    assert_eq!(world.runs(), [RUN]);
    assert_eq!(world.states(RUN), [StepState::Verified; 7]);
    assert_eq!(world.run(RUN).phase, RunPhase::Holding);
    let order: Vec<_> =
        world.events.iter().filter(|e| ["StepInForce", "StepVerified"].contains(&e.reason.as_str())).collect();
    let expected: Vec<String> = world
        .run(RUN)
        .steps
        .iter()
        .enumerate()
        .flat_map(|(i, step)| {
            ["StepInForce", "StepVerified"].map(|reason| format!("{reason} step {} {}", i + 1, step.step.name()))
        })
        .collect();
    assert_eq!(order.iter().map(|e| format!("{} {}", e.reason, e.message)).collect::<Vec<_>>(), expected);
    assert_eq!(world.flag("boost")["hold"]["variant"], "off");
    assert_eq!(world.flag("boost")["routed"], true);
    assert!(world.last.effective.freezes.contains_key(&(None, "pull-back-1/1".to_owned())));
    assert!(world.last.effective.reviews_held);
}

#[test]
fn at_29_and_at_exactly_30_minutes_nothing_happens_and_after_that_a_run_starts() {
    let mut world = world();
    world.incident("down", "2026-03-02T09:00:00Z");
    for minute in ["2026-03-02T09:29:00Z", "2026-03-02T09:30:00Z"] {
        world.advance_to(minute);
        world.settle();
        assert!(world.runs().is_empty(), "{minute}");
    }
    assert_eq!(world.last.look_again_at, Some(at("2026-03-02T09:30:00.000001Z")));
    world.advance_to("2026-03-02T09:31:00Z");
    world.settle();
    assert_eq!(world.runs(), [RUN]);
}

#[test]
fn a_step_comes_into_force_only_when_the_one_before_it_is_verified_or_overdue() {
    let mut world = world();
    world.api_follows = false;
    world.readings.api = vec![ApiFact { id: "api-1".to_owned(), serves: Some(Default::default()) }];
    world.healthy();
    world.settle();
    world.measure("sync", 1, 100);
    world.settle();
    assert_eq!(world.states(RUN)[..3], [StepState::Verified, StepState::InForce, StepState::Waiting]);
    world.advance(SignedDuration::from_mins(5));
    world.settle();
    assert_eq!(world.states(RUN)[1], StepState::InForce);
    world.advance(SignedDuration::from_secs(1));
    world.settle();
    assert_eq!(
        world.states(RUN)[..4],
        [StepState::Verified, StepState::Overdue, StepState::Verified, StepState::InForce]
    );
    let paged = |world: &World, who: &str| {
        world.messages.iter().any(|m| matches!(&m.what, MessageKind::Page { person, .. } if person == who))
    };
    assert!(paged(&world, "founder") && !paged(&world, "ops"));
    world.advance(SignedDuration::from_mins(6));
    world.settle();
    assert!(paged(&world, "ops"));
    world.api_follows = true;
    world.settle();
    world.settle();
    assert_eq!(world.states(RUN)[1], StepState::Verified);
}

#[test]
fn a_later_commit_cannot_turn_a_held_flag_on() {
    let mut world = failed_on_sync();
    let flag = world.desired.flags.get_mut("boost").unwrap();
    flag.spec.safe_variant = Some("on".to_owned());
    flag.spec.targeting = Some(serde_json::json!({ "if": [true, "on", "off"] }));
    world.settle();
    assert_eq!(world.flag("boost")["hold"]["variant"], "off");
    world.desired.flags.get_mut("boost").unwrap().spec.variants.insert("off".to_owned(), serde_json::json!(true));
    world.settle();
    assert_eq!(world.flag("boost")["variants"]["off"], false);
    world.desired.flags.clear();
    world.settle();
    assert_eq!(world.flag("boost")["hold"]["variant"], "off");
    world.desired.plans.clear();
    world.settle();
    assert_eq!(world.run(RUN).steps.len(), 7, "the run keeps its own copy of the steps");
}

#[test]
fn forty_eight_stable_hours_and_a_complete_document_reopen_the_review_and_its_pass_lifts_in_reverse() {
    let mut world = failed_on_sync();
    world.healthy();
    world.settle();
    let mut hours = 0;
    while hours < 48 {
        world.advance(SignedDuration::from_mins(10));
        world.healthy();
        world.settle();
        hours = world.run(RUN).stability.at(world.now).as_hours();
    }
    assert!(world.last.effective.reviews_held, "the document is not complete");
    world.complete_documents();
    world.settle();
    assert_eq!(world.said("ReviewsReopened").len(), 1);
    assert_eq!(world.run(RUN).phase, RunPhase::Lifted);
    let lifted: Vec<_> =
        world.said("StepLifted").iter().map(|message| message.split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!(lifted, ["6", "5", "4", "3", "2", "1"]);
    assert!(world.last.effective.freezes.is_empty());
    assert!(world.flag("boost").get("hold").is_none() && world.flag("boost").get("routed").is_none());
}

#[test]
fn a_breach_starts_the_stable_hours_again_and_missing_data_stops_them() {
    let mut world = failed_on_sync();
    world.healthy();
    world.settle();
    world.advance(SignedDuration::from_mins(10));
    world.settle();
    assert_eq!(world.run(RUN).stability.at(world.now), SignedDuration::from_mins(10));
    world.advance(SignedDuration::from_mins(10));
    world.settle();
    let stopped = world.run(RUN).stability.at(world.now);
    world.advance(SignedDuration::from_hours(25));
    world.settle();
    assert_eq!(world.run(RUN).stability.at(world.now), stopped, "the reading is stale");
    assert!(world.messages.iter().any(|m| m.effect_key.contains("stability")), "paged after 24 hours");
    world.healthy();
    world.measure("sync", 1, 100);
    world.settle();
    assert_eq!(world.run(RUN).stability.at(world.now), SignedDuration::ZERO);
}

#[test]
fn lifting_while_the_incident_is_still_open_starts_no_new_run_until_it_was_over() {
    let mut world = world();
    world.incident("down", "2026-03-02T08:00:00Z");
    world.advance_to("2026-03-02T08:31:00Z");
    world.settle();
    world.complete_documents();
    world.advance(SignedDuration::from_secs(1));
    world.says("lift", "{program: beta, by: founder, says: lift, run: pull-back-1, note: handled}");
    world.settle();
    assert_eq!(world.run(RUN).phase, RunPhase::Lifted);
    world.advance(SignedDuration::from_hours(5));
    world.settle();
    assert_eq!(world.runs(), [RUN]);
    world.resolve("down");
    world.settle();
    world.incident("again", "2026-03-02T14:00:00Z");
    world.advance_to("2026-03-02T14:31:00Z");
    world.settle();
    assert_eq!(world.runs(), [RUN, "pull-back-2"]);
}

#[test]
fn a_new_episode_during_a_run_joins_it_and_repeats_notes_but_no_destructive_step() {
    let mut world = failed_on_sync();
    world.incident("down", "2026-03-02T08:00:00Z");
    world.advance(SignedDuration::from_mins(31));
    world.measure("sync", 1, 100);
    world.settle();
    assert_eq!(world.runs(), [RUN]);
    assert_eq!(world.run(RUN).episodes.len(), 2);
    let sent = world.by_effect();
    assert_eq!(sent["pull-back-1/1/5/ops"], 1);
    assert_eq!(sent["pull-back-1/2/5/ops"], 1);
    assert_eq!(sent["pull-back-1/2/6/document"], 1);
    assert_eq!(world.said("StepInForce").iter().filter(|m| m.contains("freezeInvites")).count(), 1);
}

#[test]
fn an_unknown_neither_starts_a_run_nor_ends_an_episode() {
    let mut world = failed_on_sync();
    world.advance(SignedDuration::from_hours(1));
    world.settle();
    assert_eq!(world.verdict(), Verdict::Pending, "the reading is stale");
    world.measure("sync", 1, 100);
    world.settle();
    assert_eq!(world.run(RUN).episodes.len(), 1);
}

#[test]
fn a_freeze_by_hand_is_adopted_as_a_run_that_only_a_person_lifts() {
    let mut world = world();
    world.settle();
    world.readings.freezes.push(FreezeFact {
        cohort: None,
        holder: "hand:founder".to_owned(),
        reason: "leak".to_owned(),
        since: world.now,
    });
    world.settle();
    assert_eq!(world.runs(), ["break-glass-beta-1"]);
    let held = |world: &World| -> Vec<_> { world.last.effective.freezes.keys().cloned().collect() };
    assert_eq!(held(&world), [(None, "break-glass-beta-1/1".to_owned())]);
    assert_eq!(world.said("FreezeAdopted").len(), 1);
}

#[test]
fn a_second_freeze_by_hand_stands_beside_the_first_and_is_lifted_by_itself() {
    let mut world = world();
    world.settle();
    for (cohort, by) in [(Some("canary".to_owned()), "ops"), (None, "founder")] {
        let (holder, reason) = (format!("hand:{by}"), "leak".to_owned());
        world.readings.freezes.push(FreezeFact { cohort, holder, reason, since: world.now });
        world.settle();
    }
    assert_eq!(world.runs(), ["break-glass-beta-1", "break-glass-beta-2"]);
    let wider = (None, "break-glass-beta-2/1".to_owned());
    assert!(world.last.effective.freezes.contains_key(&wider));
    world.says("enough", "{program: beta, by: ops, says: lift, run: break-glass-beta-1, note: over}");
    world.advance(SignedDuration::from_mins(1));
    world.settle();
    assert_eq!(world.last.effective.freezes.keys().cloned().collect::<Vec<_>>(), [wider]);
    assert_eq!(world.said("FreezeAdopted").len(), 2);
}

#[test]
fn an_incident_that_came_and_went_unseen_is_paged_and_not_acted_on() {
    let mut world = world();
    world.settle();
    world.incident("night", "2026-03-02T09:00:00Z");
    world.advance_to("2026-03-02T10:00:00Z");
    world.resolve("night");
    world.advance_to("2026-03-02T11:00:00Z");
    world.settle();
    assert!(world.runs().is_empty());
    assert_eq!(world.said("PassedUnseen").len(), 1);
}

#[test]
fn reviews_due_while_held_print_held_and_seal_nothing_and_a_run_resets_the_row() {
    let mut world = world();
    world.healthy();
    world.settle();
    world.advance_to("2026-03-13T16:00:00Z");
    world.healthy();
    world.settle();
    assert_eq!(world.memory.gates["kpis"].passes_in_row, 1);
    world.measure("sync", 1, 100);
    world.settle();
    assert_eq!(world.memory.gates["kpis"].passes_in_row, 0);
    world.advance_to("2026-03-20T16:00:00Z");
    world.healthy();
    world.settle();
    assert_eq!(world.sealed.last().unwrap().verdict.verdict, Verdict::Held);
}

#[test]
fn no_stage_opens_while_a_rollback_is_in_force() {
    let mut world = world();
    world.advance_to("2026-02-27T08:00:00Z");
    world.incident("down", "2026-02-27T07:00:00Z");
    world.settle();
    world.advance_to("2026-03-03T08:00:00Z");
    world.settle();
    assert_eq!(world.memory.rollouts["closed"].current, None);
    assert_eq!(world.last.states["Rollout/closed"].state, "Held");
}

#[test]
fn a_commit_that_calls_a_routed_flag_harmless_takes_it_back_no_more_than_one_that_removes_it() {
    let mut world = failed_on_sync();
    let flag = world.desired.flags.get_mut("boost").unwrap();
    flag.spec.risk = crate::resources::Risk::Low;
    flag.spec.fallback = None;
    world.settle();
    assert_eq!((&world.flag("boost")["routed"], &world.flag("boost")["fallback"]), (&true.into(), &"/classic".into()));
    world.desired.flags.clear();
    world.settle();
    assert_eq!((&world.flag("boost")["routed"], &world.flag("boost")["fallback"]), (&true.into(), &"/classic".into()));
}

#[test]
fn what_is_safe_was_so_when_the_oldest_hold_began_whatever_the_runs_are_called() {
    let mut world = failed_on_sync();
    put(&mut world.desired.plans, "another", "{program: beta, steps: [{disableFlags: {keys: [boost]}}]}");
    world.desired.flags.get_mut("boost").unwrap().spec.safe_variant = Some("on".to_owned());
    let what = RequestKind::StartRollback { plan: "another".to_owned(), reason: "by hand".to_owned() };
    world.readings.requests.push(Request { id: "request".to_owned(), what, by: "founder".to_owned() });
    world.advance(SignedDuration::from_mins(1));
    world.settle();
    assert_eq!(world.runs(), ["another-1", RUN]);
    assert_eq!(
        (&world.flag("boost")["hold"]["run"], &world.flag("boost")["hold"]["variant"]),
        (&RUN.into(), &"off".into())
    );
    world.complete_documents();
    world.advance(SignedDuration::from_mins(1));
    world.says("lift", "{program: beta, by: founder, says: lift, run: pull-back-1, note: handled}");
    world.settle();
    assert_eq!(world.run(RUN).phase, RunPhase::Lifted);
    assert_eq!(world.flag("boost")["hold"]["variant"], "off", "the other run still holds it");
}

#[test]
fn the_note_of_a_second_failure_is_overdue_and_pages_anew() {
    let mut world = failed_on_sync();
    world.settle();
    let overdue = |world: &World| {
        let pages = world.messages.iter().filter(|message| message.effect_key.contains("/5/overdue"));
        pages.map(|message| message.effect_key.clone()).collect::<Vec<_>>()
    };
    let lost = |world: &mut World, episode: u64| {
        let key = format!("pull-back-1/{episode}/5/ops");
        world.readings.receipts.insert(key, Receipt { done: false, at: world.now, error: None });
    };
    for episode in [2, 3] {
        world.healthy();
        world.settle();
        world.measure("sync", 1, 100);
        let revision = Revision { id: "r1".to_owned(), ..Revision::default() };
        let decision = decide(&world.desired, &revision, &world.readings, &world.memory, world.now);
        assert_eq!(decision.memory.runs[RUN].episodes.len() as u64, episode);
        world.memory = decision.memory;
        lost(&mut world, episode);
        for _ in 0..2 {
            world.advance(SignedDuration::from_mins(31));
            world.settle();
        }
    }
    let expected: Vec<String> = [2, 3]
        .iter()
        .flat_map(|episode| ["founder", "ops"].map(|who| format!("beta/pull-back-1/5/overdue/{episode}/{who}")))
        .collect();
    let mut told = overdue(&world);
    told.sort();
    told.dedup();
    assert_eq!(told, expected);
}

#[test]
fn nobody_lifts_a_rollback_of_a_change_they_authored() {
    let mut world = world();
    world.desired.program.spec.people.get_mut("founder").unwrap().git = vec!["ana@example.com".to_owned()];
    world.author = Some("ana@example.com".to_owned());
    world.settle();
    world.incident("down", "2026-03-02T07:00:00Z");
    world.settle();
    world.complete_documents();
    world.resolve("down");
    world.advance(SignedDuration::from_hours(1));
    let waits = |world: &World| world.last.states["Rollback/pull-back-1"].waits.clone();
    world.says("own", "{program: beta, by: founder, says: lift, run: pull-back-1, note: mine}");
    world.settle();
    assert_eq!(world.run("pull-back-1").phase, RunPhase::Holding, "{:?}", waits(&world));
    world.says("other", "{program: beta, by: ops, says: lift, run: pull-back-1, note: seen}");
    world.settle();
    assert_eq!(world.run("pull-back-1").phase, RunPhase::Lifted);
}

#[test]
fn an_incident_that_came_and_went_during_a_rollback_was_not_missed_and_what_began_it_is_still_told() {
    let mut world = world();
    world.settle();
    world.incident("first", "2026-03-02T07:00:00Z");
    world.settle();
    world.advance_to("2026-03-02T09:00:00Z");
    world.incident("second", "2026-03-02T08:10:00Z");
    world.resolve("second");
    world.settle();
    assert!(world.said("PassedUnseen").is_empty(), "{:?}", world.said("PassedUnseen"));
    let said = &world.last.states["Rollback/pull-back-1"].summary;
    assert!(said.contains("it began with: sev-1 'first'"), "{said}");
}
