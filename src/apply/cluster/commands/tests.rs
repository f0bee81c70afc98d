//! What an order becomes, and how a Job stands, written out.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::convert::Infallible;
use std::sync::Mutex;

use axum::body::Body as Answer;
use axum::http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::json;
use tower::service_fn;

use super::allowed::is_name;
use super::*;
use crate::cluster::JobSettings;

fn order(purpose: Purpose) -> Order {
    let text = str::to_owned;
    Order {
        purpose,
        key: text("weekly/backup-age"),
        about: text("weekly/Backup_age!"),
        record: text("row-1"),
        program: text("kruxt"),
        command: vec![text("/tools/age"), text("main; rm -rf / $$ $(TOKEN)")],
        image: None,
        account: None,
        env: [(text("STANZA"), text("ma$$in$"))].into(),
        secret_env: [(text("TOKEN"), text("backup")), (text("PASSWORD"), text("mail/password"))].into(),
        deadline: Duration::from_secs(90),
        owner: Some((text("weekly"), text("uid-1"))),
    }
}

fn job(order: &Order) -> Value {
    built(order, "registry.example.com/tools:1", "reader").body
}

#[test]
fn a_command_is_one_job_that_passes_the_restricted_profile_and_is_given_nothing_of_betagates() {
    let built = job(&order(Purpose::Check));
    let spec = &built["spec"];
    assert_eq!((&spec["backoffLimit"], &spec["activeDeadlineSeconds"]), (&json!(0), &json!(150)));
    let expected = json!({
        "restartPolicy": "Never", "serviceAccountName": "reader", "enableServiceLinks": false, "terminationGracePeriodSeconds": 5,
        "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
        "containers": [{
            "name": "command", "image": "registry.example.com/tools:1", "command": ["/tools/age", "main; rm -rf / $$$$ $$(TOKEN)"],
            "env": [
                { "name": "PASSWORD", "valueFrom": { "secretKeyRef": { "name": "mail", "key": "password" } } },
                { "name": "STANZA", "value": "ma$$$$in$$" },
                { "name": "TOKEN", "valueFrom": { "secretKeyRef": { "name": "backup", "key": "value" } } },
            ],
            "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
            "resources": { "requests": { "cpu": "50m", "memory": "64Mi" }, "limits": { "memory": "512Mi" } },
        }],
    });
    assert_eq!(spec["template"]["spec"], expected);
    // Neither a Service nor a Deployment takes its pods for a workload's.
    let labels = json!({ "app.kubernetes.io/managed-by": "betagate", "app.kubernetes.io/part-of": "kruxt", "betagate.dev/job": "check" });
    assert_eq!((&spec["template"]["metadata"]["labels"], &built["metadata"]["labels"]), (&labels, &labels));
    let owner = json!([{ "apiVersion": "betagate.dev/v1alpha1", "kind": "Gate", "name": "weekly", "uid": "uid-1" }]);
    assert_eq!(built["metadata"]["ownerReferences"], owner);
    // It is what the API's own types say, with no field that they do not know.
    let typed: Job = serde_json::from_value(built.clone()).unwrap();
    assert_eq!(serde_json::to_value(typed).unwrap(), built);
}

#[test]
fn a_name_follows_from_what_a_job_is_for() {
    let name = |order: &Order| job(order)["metadata"]["name"].as_str().unwrap().to_owned();
    let check = order(Purpose::Check);
    assert!(name(&check).starts_with("check-weekly-backup-age-"), "{}", name(&check));
    assert_eq!(name(&check), name(&order(Purpose::Check)));
    let other = Order { command: vec!["/tools/other".to_owned()], ..check.clone() };
    assert_ne!(name(&check), name(&other), "another command is another question");
    let step = order(Purpose::Step);
    let other = Order { command: vec!["/tools/other".to_owned()], ..step.clone() };
    assert_eq!(name(&step), name(&other), "one effect is one Job, whatever its image is by now");
    for other in [
        Order { key: "other".to_owned(), ..step.clone() },
        // A run of the same number of another database, or of one that was put back.
        Order { record: "row-2".to_owned(), ..step.clone() },
        Order { program: "small".to_owned(), ..step.clone() },
        Order { about: format!("{}-", "x".repeat(300)), ..step.clone() },
        Order { about: "ÄÖ/…".to_owned(), key: "other".to_owned(), ..step.clone() },
    ] {
        let name = name(&other);
        assert_ne!(name, self::name(&step), "{other:?}");
        assert!(is_name(&name) && name.len() <= 63 && !name.contains('.'), "{name}");
    }
}

fn name(order: &Order) -> String {
    built(order, "i", "a").name
}

fn pod(phase: &str, state: Value) -> Value {
    let beside = json!({ "name": "injected", "state": { "terminated": { "exitCode": 7 } } });
    let own = json!({ "name": "command", "image": "tools:1", "state": state });
    json!({ "metadata": { "name": "p", "creationTimestamp": "2026-03-02T08:00:00Z" },
        "status": { "phase": phase, "containerStatuses": [beside, own] } })
}

fn stand(pod: Value) -> Stand {
    judge(&json!({}), &[pod], None)
}

fn code(code: i32) -> Ended {
    Ended::Code(code, String::new())
}

#[test]
fn a_command_ends_as_it_would_on_one_machine() {
    let terminated = |state: Value| stand(pod("Failed", json!({ "terminated": state })));
    for (state, expected) in [
        (json!({ "exitCode": 0, "reason": "Completed" }), code(0)),
        (json!({ "exitCode": 2, "reason": "Error" }), code(2)),
        (json!({ "exitCode": 126 }), code(126)),
        (json!({ "exitCode": 128 }), code(128)),
        (json!({ "exitCode": 255 }), code(255)),
        (json!({ "exitCode": 137, "reason": "Error" }), Ended::Signal(9)),
        (json!({ "exitCode": 137, "reason": "OOMKilled" }), Ended::Signal(9)),
        (json!({ "exitCode": 143 }), Ended::Signal(15)),
        (json!({ "exitCode": 1, "signal": 6 }), Ended::Signal(6)),
        (json!({ "exitCode": 128, "reason": "StartError", "message": "exec: \"a secret\": not found" }), code(127)),
    ] {
        assert_eq!(terminated(state.clone()), Stand::Ended(expected, Some("p".to_owned())), "{state}");
    }
    assert_eq!(stand(pod("Running", json!({ "running": {} }))), Stand::Running);
    assert_eq!(
        stand(pod("Pending", json!({ "waiting": { "reason": "RunContainerError" } }))),
        Stand::Ended(code(127), None)
    );
}

#[test]
fn what_keeps_a_job_from_starting_is_named_in_words_that_stay_the_same() {
    let waiting = |state: Value| stand(pod("Pending", json!({ "waiting": state })));
    let stuck = |why: &str| Stand::Stuck(why.to_owned());
    assert_eq!(waiting(json!({ "reason": "ErrImagePull" })), stuck("ImagePullBackOff: tools:1"));
    let root = json!({ "reason": "CreateContainerConfigError", "message": "container has runAsNonRoot and image will run as root" });
    assert_eq!(
        waiting(root),
        stuck("CreateContainerConfigError: container has runAsNonRoot and image will run as root")
    );
    assert!(matches!(waiting(json!({ "reason": "ContainerCreating" })), Stand::Waiting(_)));
    let nowhere = json!([{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available" }]);
    let mut unplaced = pod("Pending", Value::Null);
    unplaced["status"]["conditions"] = nowhere;
    assert_eq!(stand(unplaced), Stand::Waiting("Unschedulable: 0/1 nodes are available".to_owned()));

    assert_eq!(judge(&json!({}), &[], None), Stand::Waiting("it has no pod yet".to_owned()));
    let note = "Error creating: pods \"check-a-0123-x7k2p\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=0, limited: pods=0";
    let said = refusal(note, "check-a-0123");
    let expected = "Error creating: pods \"check-a-0123\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=0, limited: pods=0";
    assert_eq!(said, expected);
    assert_eq!(judge(&json!({}), &[], Some(&said)), stuck(expected));
}

#[test]
fn a_job_without_a_pod_says_itself_how_it_ended() {
    let job = |kind: &str, reason: &str| {
        let condition = json!({ "type": kind, "status": "True", "reason": reason, "message": "said" });
        json!({ "status": { "conditions": [condition] } })
    };
    assert_eq!(judge(&job("Complete", ""), &[], None), Stand::Ended(code(0), None));
    assert_eq!(judge(&job("Failed", "BackoffLimitExceeded"), &[], None), Stand::Broken("said".to_owned()));
    // It was ended by a signal, for its time was over.
    let killed = pod("Failed", json!({ "terminated": { "exitCode": 143 } }));
    for kind in ["Failed", "FailureTarget"] {
        let ended = judge(&job(kind, "DeadlineExceeded"), std::slice::from_ref(&killed), None);
        assert_eq!(ended, Stand::Ended(Ended::TimedOut, None));
    }
    // Unless it had come to its end before: another container, which somebody put beside it, went on.
    let mut late = job("Failed", "DeadlineExceeded");
    late["status"]["conditions"][0]["lastTransitionTime"] = json!("2026-03-02T08:02:00Z");
    for (at, expected) in [
        ("2026-03-02T08:01:59Z", Stand::Ended(code(0), Some("p".to_owned()))),
        ("2026-03-02T08:02:00Z", Stand::Ended(Ended::TimedOut, None)),
    ] {
        let ended = pod("Failed", json!({ "terminated": { "exitCode": 0, "finishedAt": at } }));
        assert_eq!(judge(&late, &[ended], None), expected, "{at}");
    }
    late["metadata"] = json!({ "annotations": { ENDED: WELL } });
    assert_eq!(judge(&late, &[], None), Stand::Ended(code(0), None), "it was written down");
    // A node that is lost takes the pod along, and with it what came of the command.
    let mut lost = pod("Failed", Value::Null);
    lost["status"]["reason"] = json!("NodeLost");
    assert_eq!(judge(&job("Failed", "BackoffLimitExceeded"), &[lost], None), Stand::Broken("NodeLost".to_owned()));
}

#[test]
fn only_names_become_parts_of_an_address() {
    for good in ["a", "reader", "shop-token", "a.b-c.1"] {
        assert!(is_name(good), "{good}");
    }
    for bad in ["", "../pods", "a/b", "A", "-a", "a-", "a?x", "a b", &"a".repeat(254)] {
        assert!(!is_name(bad), "{bad}");
    }
}

/// Commands whose API server answers so, given method, path and content.
fn commands(jobs: JobSettings, answer: impl Fn(&str, &str, &str) -> String + Send + Sync + 'static) -> Commands {
    let answer = Arc::new(answer);
    let service = service_fn(move |request: Request<Body>| {
        let answer = answer.clone();
        async move {
            let (method, path) = (request.method().to_string(), request.uri().to_string());
            let content = request.into_body().collect_bytes().await.unwrap();
            let said = answer(&method, &path, std::str::from_utf8(&content).unwrap());
            Ok::<_, Infallible>(Response::new(Answer::from(said)))
        }
    });
    let cluster = Cluster::new(Client::new(service, "beta"), "beta").with_jobs(jobs);
    cluster.let_act(Some(std::time::Instant::now() + Duration::from_secs(3600)));
    Commands::new(Arc::new(cluster))
}

fn begun(purpose: Purpose) -> Begun {
    Begun { job: "j".to_owned(), purpose, deadline: Duration::from_secs(60), _one: None }
}

fn one_job(more: Value) -> Value {
    let mut job = json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "j", "uid": "uid-1" } });
    job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    job
}

fn pods(pods: &[Value]) -> String {
    json!({ "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": pods }).to_string()
}

fn ended_well() -> Value {
    // The other container goes on.
    let mut pod = pod("Running", json!({ "terminated": { "exitCode": 0 } }));
    pod["status"]["containerStatuses"][0]["state"] = json!({ "running": {} });
    pod
}

#[tokio::test]
async fn a_log_that_was_cut_is_no_answer_and_is_asked_for_with_fewer_lines() {
    let (full, with_letter) = ("8640\n".repeat(MOST_BYTES), format!("{}…", "x".repeat(MOST_BYTES - 1)));
    let full = &full[..MOST_BYTES];
    for (logs, expected) in [
        ([full, "words\n86400\n", "never asked"], Ok(Ended::Code(0, "words\n86400\n".to_owned()))),
        ([&with_letter, full, "7\n"], Ok(Ended::Code(0, "7\n".to_owned()))),
        ([full, full, full], Err("the log of Job j can't be read: its last lines are longer than 64 KiB, or no text")),
    ] {
        let logs = logs.map(str::to_owned);
        let commands = commands(JobSettings::default(), move |method, path, _| match (method, path) {
            ("GET", log) if log.contains("/log?") => {
                let asked = LINES.map(|lines| log.contains(&format!("tailLines={lines}")));
                logs[asked.iter().position(|asked| *asked).unwrap()].clone()
            }
            ("GET", list) if list.contains("/pods?") => pods(&[ended_well()]),
            _ => one_job(json!({})).to_string(),
        });
        let ended = commands.end(begun(Purpose::Check), true).await;
        assert_eq!(ended.map_err(|error| error.to_string()), expected.map_err(str::to_owned));
    }
}

#[tokio::test]
async fn a_step_whose_command_ended_well_stays_done_when_its_job_is_ended_for_what_goes_on_beside_it() {
    let (live, left) = (Arc::new(Mutex::new((one_job(json!({})), pods(&[ended_well()])))), Arc::new(Mutex::new(true)));
    let (server, there) = (live.clone(), left.clone());
    let commands = commands(JobSettings::default(), move |method, path, content| {
        let mut live = server.lock().unwrap();
        match (method, path) {
            ("GET", list) if list.contains("/pods?") => return live.1.clone(),
            ("PATCH", _) => {
                let change: Value = serde_json::from_str(content).unwrap();
                assert_eq!(change["metadata"]["uid"], "uid-1", "another Job of that name is left alone");
                live.0["metadata"]["annotations"] = change["metadata"]["annotations"].clone();
            }
            ("DELETE", _) => *there.lock().unwrap() = false,
            _ => {}
        }
        live.0.to_string()
    });
    assert_eq!(commands.end(begun(Purpose::Step), false).await, Ok(code(0)));
    // Its receipt is lost, and its time is over.
    {
        let mut live = live.lock().unwrap();
        let late = json!({ "type": "Failed", "status": "True", "reason": "DeadlineExceeded", "lastTransitionTime": "2026-03-02T08:02:00Z" });
        live.0["status"] = json!({ "conditions": [late] });
        live.1 = pods(&[]);
    }
    assert_eq!(commands.end(begun(Purpose::Step), false).await, Ok(code(0)));
    assert!(*left.lock().unwrap(), "it is what proves it");
}

#[tokio::test]
async fn commands_that_are_turned_off_ask_for_nothing_and_say_so() {
    let off = commands(JobSettings { off: true, ..JobSettings::default() }, |_, path, _| panic!("{path} was asked"));
    let named = Order {
        image: Some("registry.example.com/tools:1".to_owned()),
        account: Some("reader".to_owned()),
        ..order(Purpose::Step)
    };
    let refused = off.begin(&named).await.unwrap_err();
    assert!(matches!(refused, NotRun::NotAllowed(_)) && refused.to_string().contains("turned off"), "{refused}");
    assert_eq!(off.may_run(&named).await, Err(refused));
}
