//! What is wanted becomes so: restarts, readiness, scaling, going back, stopping.

use std::time::Duration;

use betagate::apply::processes::{CommandLine, Listens, ProcessError, ProcessSpec, ProcessState, ProcessStatus, Ready};

use crate::workloads::{child, script, supervisor, until, until_ready};

const STAYS: &str = "echo READY $BETAGATE_REVISION; exec sleep 1000";

#[tokio::test]
async fn a_crash_loop_is_seen_with_its_exit_and_its_last_words() {
    let supervisor = supervisor(None);
    supervisor.set_desired(vec![script("worker", "echo starting; echo boom >&2; exit 3")]).await.unwrap();
    let seen = until(&supervisor, |all| all.iter().any(|s| s.crash_loop && s.state == ProcessState::Backoff)).await;
    let status = &seen[0];
    assert!(status.restarts >= 3);
    assert!(status.retry_at.is_some());
    assert_eq!(status.last_exit.as_ref().unwrap().to_string(), "exit code 3");
    assert!(status.output.contains(&"boom".to_owned()) && status.output.contains(&"starting".to_owned()));
    supervisor.shutdown().await;
}

#[tokio::test]
async fn a_command_that_is_not_there_says_so() {
    let supervisor = supervisor(None);
    let command = CommandLine::Command(vec!["/no/such/program".into()]);
    supervisor.set_desired(vec![ProcessSpec { command, ..child("odd", "") }.with_digest()]).await.unwrap();
    let seen = until(&supervisor, |all| all.iter().any(|s| s.last_exit.is_some())).await;
    assert_eq!(seen[0].last_exit.as_ref().unwrap().code, Some(127));
    assert!(seen[0].output[0].starts_with("cannot start /no/such/program: No such file"), "{:?}", seen[0].output);
    supervisor.shutdown().await;
}

#[tokio::test]
async fn a_process_that_will_not_go_is_killed_after_its_grace() {
    let supervisor = supervisor(None);
    let stubborn = "trap '' TERM; echo READY $BETAGATE_REVISION; while :; do sleep 0.05; done";
    let spec = ProcessSpec { stop_grace: Duration::from_millis(50), ..script("stubborn", stubborn) };
    let revision = spec.revision.clone();
    supervisor.set_desired(vec![spec]).await.unwrap();
    let first = until_ready(&supervisor, 1, &revision).await[0].pid;
    supervisor.restart("stubborn", None).await.unwrap();
    let replaced = until(&supervisor, |all| all.len() == 1 && all[0].pid.is_some() && all[0].pid != first).await;
    let exit = replaced[0].last_exit.clone().unwrap();
    assert_eq!((exit.signal, exit.wanted), (Some(9), true));
    assert_eq!(replaced[0].restarts, 0);
    supervisor.shutdown().await;
}

#[tokio::test]
async fn readiness_over_http_on_a_port_of_its_own_and_a_replacement_beside_it() {
    let supervisor = supervisor(None);
    let spec = ProcessSpec {
        listens: Listens::OwnPort(None),
        ready: Ready::Http { path: "/pid".into(), port: None },
        replicas: 2,
        ..child("web", "own-port")
    }
    .with_digest();
    supervisor.set_desired(vec![spec.clone()]).await.unwrap();
    let first = until_ready(&supervisor, 2, &spec.revision).await;
    assert_ne!(first[0].port, first[1].port);
    let mut next = spec;
    next.env.insert("ANYTHING".into(), "new".into());
    let next = next.with_digest();
    supervisor.set_desired(vec![next.clone()]).await.unwrap();
    until_ready(&supervisor, 2, &next.revision).await;
    supervisor.shutdown().await;
}

#[tokio::test]
async fn a_workload_scales_goes_back_to_an_earlier_revision_and_forward_again() {
    let supervisor = supervisor(None);
    let one = script("worker", STAYS);
    let mut two = one.clone();
    two.env.insert("VERSION".into(), "2".into());
    let two = two.with_digest();
    supervisor.set_desired(vec![one.clone()]).await.unwrap();
    until_ready(&supervisor, 1, &one.revision).await;
    supervisor.scale("worker", 3).await.unwrap();
    until_ready(&supervisor, 3, &one.revision).await;
    supervisor.set_desired(vec![ProcessSpec { replicas: 2, ..two.clone() }]).await.unwrap();
    until_ready(&supervisor, 2, &two.revision).await;
    assert_eq!(supervisor.revert("worker", None).await.unwrap(), one.revision);
    until_ready(&supervisor, 2, &one.revision).await;
    assert_eq!(supervisor.revert("worker", Some(&two.revision)).await.unwrap(), two.revision);
    until_ready(&supervisor, 2, &two.revision).await;
    let kept: Vec<String> = supervisor.revisions("worker").await.unwrap().into_iter().map(|s| s.revision).collect();
    assert_eq!(kept, [one.revision.clone(), two.revision]);
    let unknown = supervisor.revert("worker", Some("elsewhere")).await.unwrap_err();
    assert!(matches!(unknown, ProcessError::UnknownRevision { .. }));
    assert!(matches!(supervisor.scale("nobody", 1).await, Err(ProcessError::UnknownWorkload(_))));
    assert!(matches!(supervisor.scale("worker", 1000).await, Err(ProcessError::BadSpec { .. })));
    supervisor.scale("worker", 0).await.unwrap();
    until(&supervisor, <[_]>::is_empty).await;
    supervisor.shutdown().await;
    assert!(matches!(supervisor.set_desired(vec![one]).await, Err(ProcessError::Stopped)));
}

#[tokio::test]
async fn an_earlier_life_can_be_remembered_and_a_bad_set_changes_nothing() {
    let supervisor = supervisor(None);
    let (one, two) = (script("worker", STAYS), script("worker", &format!("true; {STAYS}")));
    supervisor.remember(vec![one.clone()], None).await.unwrap();
    supervisor.set_desired(vec![two.clone()]).await.unwrap();
    assert!(matches!(
        supervisor.set_desired(vec![one.clone(), one.clone()]).await,
        Err(ProcessError::BadSpec { problem, .. }) if problem == "it is given twice"
    ));
    let shared = ProcessSpec { listens: Listens::Shared, ..one.clone() };
    assert!(matches!(supervisor.set_desired(vec![shared]).await, Err(ProcessError::BadSpec { .. })));
    until_ready(&supervisor, 1, &two.revision).await;
    supervisor.revert("worker", None).await.unwrap();
    until_ready(&supervisor, 1, &one.revision).await;
    supervisor.shutdown().await;
}

#[tokio::test]
async fn the_last_revision_that_stayed_up_stands_in_while_the_wanted_one_crashes() {
    let supervisor = supervisor(None);
    let (good, bad) = (script("worker", STAYS), script("worker", "exit 3"));
    supervisor.remember(vec![good.clone()], Some(good.clone())).await.unwrap();
    supervisor.set_desired(vec![bad.clone()]).await.unwrap();
    let stands_in = |s: &ProcessStatus| s.state == ProcessState::Ready && s.revision == good.revision && s.crash_loop;
    let seen = until(&supervisor, |all| all.iter().any(stands_in)).await;
    assert!(seen.iter().any(|status| status.pid.is_some() || status.restarts >= 3), "{seen:#?}");
    // A revision that works takes over from it.
    let next = script("worker", &format!("true; {STAYS}"));
    supervisor.set_desired(vec![next.clone()]).await.unwrap();
    until_ready(&supervisor, 1, &next.revision).await;
    supervisor.shutdown().await;
}
