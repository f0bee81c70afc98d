//! A small program whose one plan has every step that there is, and a world in which each leaves a trace that can be counted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use betagate::controller::Controller;
use betagate::core::dataset::shape;
use betagate::store::{audit, datasets, flags, freezes, outbox, steps, workloads};
use betagate_core::decide::{RunMemory, RunPhase};
use serde_json::json;

use super::applied::on_cluster;
use super::beta::{ADMIN, Beta};
use super::sink::Sink;
use super::small::{rows, small};
use super::{TestDb, TestRepo, lift};

pub const RUN: &str = "everything-1";
const DOCUMENT: &str = "apiVersion: betagate.dev/v1alpha1\n";
const JOB: &str = "runJob: { command: [./job] }";
const CALL: &str = "callWebhook: { source: host, path: /pause, body: { service: sync } }";
/// The steps on a machine without workloads.
pub const STEPS: [&str; 12] = [
    "freezeInvites: { cohorts: all }",
    "pauseIngestion: {}",
    "revokeInvites: { cohorts: [pavia] }",
    "disableFlags: { keys: [boost] }",
    "keepOnline: [privacy]",
    "routeToFallback: { risk: high }",
    "publishNote: { to: [ops, chat], template: note }",
    JOB,
    CALL,
    "restoreDataset: { dataset: moves }",
    "captureRootCause: { owner: founder }",
    "holdReviews: { untilStableFor: 2d, severity: sev-1 }",
];
/// Those that need workloads.
pub const WORKLOAD_STEPS: [&str; 4] = [
    "freezeInvites: { cohorts: all }",
    "scaleWorkload: { workload: worker, replicas: 1 }",
    "revertWorkload: { workload: worker }",
    "restartWorkload: { workload: worker }",
];

/// What is asked for in place of a step on a cluster: commands are Jobs there, of images that bring what they run.
pub fn there(step: &str) -> &str {
    if on_cluster() && step == JOB { CALL } else { step }
}

/// A program in force, a tester in, and what its steps leave behind.
pub struct Scene {
    pub beta: Beta,
    pub sink: Sink,
}

impl Scene {
    /// Until the plan could be started.
    pub async fn start(db: &TestDb, steps: &[&str]) -> Scene {
        let sink = Sink::start().await;
        let steps: Vec<&str> = steps.iter().copied().map(there).collect();
        let repo = repository(&sink, &steps);
        let with_workloads = steps.iter().any(|step| step.contains("workload"));
        let mut beta = if with_workloads {
            Beta::start_with_workloads(db, repo, "2026-03-03T08:00:00Z").await
        } else {
            Beta::start(db, repo, "2026-03-03T08:00:00Z").await
        };
        for _ in 0..4 {
            // Invites leave one after another.
            beta.clock.advance(jiff::SignedDuration::from_secs(1));
            beta.pass().await;
        }
        if with_workloads {
            earlier_revision(&mut beta).await;
        } else {
            let codes = sent_codes(&beta);
            assert_eq!(codes.len(), 3, "{codes:?}");
            let (status, answer) = beta.register("ada@example.com", &codes["ada@example.com"]).await;
            assert_eq!(status, 201, "{answer}");
            beta.pass().await;
        }
        Scene { beta, sink }
    }

    pub async fn ask_for_the_run(&self) {
        let body = json!({ "plan": "everything", "reason": "a bad release" });
        assert_eq!(self.beta.post("/v1/admin/rollbacks", Some(ADMIN), &body).await.0, 202);
    }

    /// Completes the cause document, and says that the run may be lifted.
    pub async fn allow_the_lift(&self) {
        lift::complete_all(&self.beta).await;
        lift::say(&self.beta.store, ("small", RUN), self.beta.clock.now()).await;
    }

    /// Everything that a run leaves behind, the same however often a controller died on the way: what may happen twice (notes, commands, calls) is
    /// told by its distinct keys.
    pub async fn left_behind(&self) -> BTreeMap<&'static str, Vec<String>> {
        let store = &self.beta.store;
        let mut all = BTreeMap::new();
        let filter =
            audit::Filter { object: Some(format!("Rollback/{RUN}")), limit: Some(1000), ..audit::Filter::default() };
        let mut told = audit::list(store, &filter).await.unwrap();
        told.sort_by_key(|kept| kept.seq);
        let told = told.iter().map(|kept| format!("{} {}", kept.entry.action, kept.entry.detail));
        all.insert("told", told.collect());
        let freezes = freezes::list(store, Some("small")).await.unwrap();
        all.insert("freezes", freezes.into_iter().map(|freeze| freeze.holder).collect());
        let pauses = steps::pauses(store, "small").await.unwrap();
        all.insert("pauses", pauses.into_iter().map(|pause| pause.holder).collect());
        let effects = steps::effects_of_runs(store, "small", &[RUN.to_owned()]).await.unwrap();
        all.insert("effects", effects.into_iter().collect());
        let invites = "SELECT state, count(*) AS n FROM beta_invites GROUP BY state ORDER BY state";
        let invites = store.all(invites, &[]).await.unwrap();
        let count = |row: &betagate::store::Row| {
            format!("{} {}", row.get::<String>("state").unwrap(), row.get::<i64>("n").unwrap())
        };
        all.insert("invites", invites.iter().map(count).collect());
        all.insert("rows", self.rows().await);
        let newest = flags::newest(store).await.unwrap().unwrap();
        let mut served = newest.body["flags"].clone();
        // Each scene has a folder of its own, and so another revision.
        served.as_object_mut().unwrap().values_mut().for_each(|flag| flag["commit"] = "-".into());
        all.insert("flags", vec![served.to_string(), newest.holds.to_string()]);
        let sent = outbox::by_prefix(store, &format!("{RUN}/")).await.unwrap();
        let sent: BTreeSet<String> = sent.into_iter().map(|m| format!("{} {}", m.intent.effect_key, m.state)).collect();
        all.insert("outbox", sent.into_iter().collect());
        all.insert("mail", self.mail());
        let distinct = |path: &str| {
            let keys = self.sink.heard(path).into_iter().map(|heard| heard.key);
            keys.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        };
        all.insert("chat", distinct("/chat"));
        all.insert("call", distinct("/api/pause"));
        let job = std::fs::read_to_string(self.beta.repo.path().join("job.log")).unwrap_or_default();
        let job: BTreeSet<String> = job.lines().map(str::to_owned).collect();
        all.insert("job", job.into_iter().collect());
        let documents = self.beta.documents().await.len();
        all.insert("documents", vec![documents.to_string()]);
        assert!(audit::verify(store).await.unwrap().problem.is_none());
        all
    }

    /// The rows of the dataset, what was done to each, and the dumps: one more would tell of an undoing too many.
    async fn rows(&self) -> Vec<String> {
        let (store, shape) = (&self.beta.store, shape("movement_library").unwrap());
        let live = datasets::live(store, shape).await.unwrap();
        let rows = live.into_iter().map(|row| format!("{} {} {}", row.key, row.status, row.staged.is_some()));
        let actions = datasets::audited(store, shape).await.unwrap();
        let actions = actions.into_iter().map(|(action, count)| format!("{action} {count}"));
        let dumps = datasets::dumps(store, shape).await.unwrap();
        rows.chain(actions).chain(dumps.into_iter().map(|dump| format!("dump {} {}", dump.rows, dump.reason))).collect()
    }

    /// Recipient and Message-ID of every distinct message, and how often each invite left.
    fn mail(&self) -> Vec<String> {
        let mut found = BTreeSet::new();
        let mut invites: BTreeMap<String, usize> = BTreeMap::new();
        for message in messages(&self.beta) {
            let line = |start: &str| message.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_default();
            let to = line("To: ").to_owned();
            if message.contains("Your code is") {
                *invites.entry(to).or_default() += 1;
            } else {
                found.insert(format!("{to} {}", line("Message-ID: ").split('@').next().unwrap_or_default()));
            }
        }
        found.extend(invites.into_iter().map(|(to, times)| format!("invite {to} {times}")));
        found.into_iter().collect()
    }
}

pub fn run(controller: &Controller) -> Option<&RunMemory> {
    controller.programs().get("small")?.decision.as_ref()?.memory.runs.get(RUN)
}

pub fn is_in(controller: &Controller, phase: RunPhase) -> bool {
    run(controller).is_some_and(|run| run.phase == phase)
}

fn mailbox(beta: &Beta) -> PathBuf {
    beta.repo.path().join("sent.mbox")
}

fn messages(beta: &Beta) -> Vec<String> {
    let text = std::fs::read_to_string(mailbox(beta)).unwrap_or_default().replace("\r\n", "\n");
    text.split("From: ").filter(|part| part.contains("To: ")).map(str::to_owned).collect()
}

fn sent_codes(beta: &Beta) -> BTreeMap<String, String> {
    let all = messages(beta).into_iter().filter_map(|message| {
        let line = |start: &str| message.lines().find_map(|line| line.strip_prefix(start)).map(str::to_owned);
        Some((line("To: ")?, line("Your code is ")?.split('.').next()?.to_owned()))
    });
    all.collect()
}

fn repository(sink: &Sink, steps: &[&str]) -> TestRepo {
    let people = rows(&["ada@example.com", "ben@example.com", "cleo@example.com"]);
    let repo = small(&people, "{ send: true, from: beta@example.com, sendCommand: ./deliver }", "600/min");
    let sent = repo.path().join("sent.mbox");
    let script = |name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = repo.write(name, &format!("#!/bin/sh\n{text}\n"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let deliver = script("deliver", &format!("cat >> {}", sent.display()));
    script("job", "echo \"$BETAGATE_RUN $BETAGATE_STEP $BETAGATE_EFFECT_KEY\" >> job.log");
    let program = repo.read("manifests/program.yaml").replace("./deliver", &deliver.display().to_string());
    let program = program.replace(
        "people: { founder: { git: [ana@example.com] } }",
        "people: { founder: { git: [ana@example.com], notify: ana@example.com } }",
    );
    let more = format!(
        "  alwaysOnline: [privacy]\n  sources: {{ host: {{ http: {{ url: '{url}/api' }} }} }}\n  channels:\n    ops: {{ email: [ops@example.com] }}\n    \
         chat: {{ webhook: {{ url: '{url}/chat' }} }}\n",
        url = sink.url
    );
    repo.write("manifests/program.yaml", &format!("{program}{more}"));
    repo.write("cohorts/templates/note.txt", "Subject: Rollback {{ run }}\n\n{{ reason }}\n");
    repo.write(
        "flags/boost.yaml",
        &format!(
            "{DOCUMENT}kind: Flag\nmetadata: {{ name: boost }}\nspec:\n  program: small\n  type: boolean\n  risk: high\n  \
             variants: {{ \"on\": true, \"off\": false }}\n  defaultVariant: \"on\"\n  safeVariant: \"off\"\n  fallback: /classic\n"
        ),
    );
    let steps: String = steps.iter().map(|step| format!("    - {step}\n")).collect();
    repo.write(
        "manifests/plan.yaml",
        &format!(
            "{DOCUMENT}kind: RollbackPlan\nmetadata: {{ name: everything }}\nspec:\n  program: small\n  steps:\n{steps}"
        ),
    );
    if steps.contains("workload") {
        repo.write("manifests/worker.yaml", &worker(1000));
    }
    if steps.contains("restoreDataset") {
        repo.write(
            "manifests/moves.yaml",
            &format!(
                "{DOCUMENT}kind: Dataset\nmetadata: {{ name: moves }}\nspec:\n  program: small\n  file: moves.json\n  table: movement_library\n  \
                 key: movement_id\n  expect: {{ published: 2 }}\n  undo: reseed\n"
            ),
        );
        let row = |id: &str| json!({ "movement_id": id, "name": id, "category": "squat", "modalities": ["band"] });
        repo.write("manifests/moves.json", &json!([row("squat"), row("lunge")]).to_string());
    }
    repo
}

fn worker(seconds: u32) -> String {
    format!(
        "{DOCUMENT}kind: Workload\nmetadata: {{ name: worker }}\nspec:\n  program: small\n  component: worker\n  replicas: 2\n  \
         command: [sleep, '{seconds}']\n"
    )
}

/// A revision that stayed up, and another one after it.
async fn earlier_revision(beta: &mut Beta) {
    let first = workloads::revisions(&beta.store, "worker").await.unwrap();
    workloads::prove(&beta.store, "worker", &first[0].revision, beta.clock.now()).await.unwrap();
    beta.repo.write("manifests/worker.yaml", &worker(2000));
    for _ in 0..200 {
        beta.pass().await;
        let ready = beta.processes("worker").into_iter().filter(|process| {
            process.revision != first[0].revision && process.state == betagate::apply::processes::ProcessState::Ready
        });
        if ready.count() == 2 && beta.processes("worker").len() == 2 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the worker never ran: {:?}", beta.processes("worker"));
}
