//! A whole betagate in one process, on a clock that the test moves: controller, API over loopback, flags.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use betagate::api::flags_cache::FlagsCache;
use betagate::api::ofrep::Access;
use betagate::api::{AlertHooks, ApiState, Limits, Links, Rate, Rates, service, token_digest};
use betagate::apply::processes::{ProcessStatus, Program, SharedListener, Supervisor, SupervisorOptions, serve};
use betagate::clock::Clock;
use betagate::controller::{Controller, Settings};
use betagate::keys::Keys;
use betagate::source::{GitSettings, Source};
use betagate::store::Store;
use betagate::store::flags::Process;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::applied::Applied;
use super::{TestDb, TestRepo};

/// The administration token of a test.
/// What signs `POST /hooks/git`.
pub const HOOK_SECRET: &str = "a secret that the forge knows";
/// The token of `POST /hooks/alertmanager`.
pub const ALERTMANAGER_SECRET: &str = "a secret that Alertmanager knows";
/// What signs `POST /hooks/pagerduty`.
pub const PAGERDUTY_SECRET: &str = "a secret that PagerDuty knows";
/// What signs `POST /hooks/mail`.
pub const MAIL_HOOK_SECRET: &str = "a secret that the mail provider knows";
pub const ADMIN: &str = "a-token-for-tests-only";

/// A running betagate.
pub struct Beta {
    pub store: Store,
    pub clock: Clock,
    pub repo: TestRepo,
    pub data: PathBuf,
    pub controller: Controller,
    cache: Arc<FlagsCache>,
    address: SocketAddr,
    http: reqwest::Client,
    pub url: String,
    supervisor: Option<Supervisor>,
    /// Where the documents are read from instead of the folder itself, if anywhere.
    git: Option<Arc<Source>>,
    /// The namespace to which they are applied, where behaviours are to hold on a cluster.
    applied: Option<Arc<Applied>>,
    _folder: tempfile::TempDir,
    _going: tokio::sync::watch::Sender<bool>,
}

impl Beta {
    /// Starts one at an instant. The database must outlive it.
    pub async fn start(db: &TestDb, repo: TestRepo, at: &str) -> Beta {
        // The clock stands still: what was tried stays tried.
        let all = Rate { burst: 1_000_000, each: std::time::Duration::from_nanos(1) };
        Self::start_limited(db, repo, at, Rates { source: all, address: all, link: all }).await
    }

    /// Starts one that runs workloads as real processes, the API that always runs among them.
    pub async fn start_with_workloads(db: &TestDb, repo: TestRepo, at: &str) -> Beta {
        let all = Rate { burst: 1_000_000, each: std::time::Duration::from_nanos(1) };
        let supervisor = Supervisor::start(SupervisorOptions {
            program: Program::at(env!("CARGO_BIN_EXE_betagate")),
            listener: Some(SharedListener::bind("127.0.0.1:0".parse().unwrap()).unwrap()),
            clock: Clock::system(),
        });
        let rates = Rates { source: all, address: all, link: all };
        Self::start_as(db, repo, at, rates, Some(supervisor)).await
    }

    /// Starts one whose doors may be tried so often.
    pub async fn start_limited(db: &TestDb, repo: TestRepo, at: &str, rates: Rates) -> Beta {
        Self::start_as(db, repo, at, rates, None).await
    }

    async fn start_as(db: &TestDb, repo: TestRepo, at: &str, rates: Rates, supervisor: Option<Supervisor>) -> Beta {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir_all(&data).unwrap();
        let clock = Clock::manual(at.parse().unwrap());
        let store = Store::open(&db.url).await.unwrap();
        store.migrate().await.unwrap();
        let keys = Arc::new(Keys::load_or_create(&data.join("keys")).unwrap());
        let now = clock.now();
        let process = Process {
            id: Uuid::now_v7(),
            workload: "api".to_owned(),
            pid: i64::from(std::process::id()),
            pod: None,
            started_at: now,
            reported_at: now,
            flag_revision: 0,
        };
        let cache = FlagsCache::load(store.clone(), clock.clone(), process).await;
        let going = tokio::sync::watch::Sender::new(false);
        let (links, _) = Links::start(store.clone(), keys.clone(), clock.clone(), going.subscribe());
        let state = ApiState {
            limits: Arc::new(Limits::new(rates, &clock, vec!["127.0.0.0/8".parse().unwrap()])),
            links,
            store: store.clone(),
            clock: clock.clone(),
            keys: keys.clone(),
            cache: cache.clone(),
            admin_token: Some(token_digest(ADMIN)),
            hook_secret: Some(HOOK_SECRET.to_owned().into()),
            mail_hook_secret: Some(MAIL_HOOK_SECRET.to_owned().into()),
            alert_hooks: AlertHooks {
                alertmanager: Some(ALERTMANAGER_SECRET.to_owned().into()),
                pagerduty: Some(PAGERDUTY_SECRET.to_owned().into()),
            },
            flag_access: Access::Open,
            ending: tokio::sync::watch::Sender::new(false).subscribe(),
            metrics: Arc::default(),
            hashing: Arc::new(Semaphore::new(2)),
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, service(state), std::future::pending()));
        let settings = Settings {
            supervisor: supervisor.clone(),
            ..settings(&store, &db.url, &clock, &repo, &data, keys, address)
        };
        let applied = Applied::on_cluster(&clock).await;
        let source = applied.as_ref().map_or(settings.source.clone(), |applied| applied.source());
        let settings = Settings { source, ..settings };
        let controller = Controller::new(settings).await.unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Beta {
            store,
            clock,
            repo,
            data,
            controller,
            cache,
            address,
            http,
            url: db.url.clone(),
            supervisor,
            git: None,
            applied,
            _folder: folder,
            _going: going,
        }
    }

    /// Goes on with a new controller, as after a crash.
    pub async fn restart_controller(&mut self) {
        self.controller = self.new_controller().await;
    }

    /// Another controller, which takes the lead.
    pub async fn new_controller(&self) -> Controller {
        let keys = Arc::new(Keys::load(&self.data.join("keys")).unwrap());
        let settings = settings(&self.store, &self.url, &self.clock, &self.repo, &self.data, keys, self.address);
        let source = match (&self.applied, &self.git) {
            (Some(applied), _) => applied.follow_anew().await,
            (None, git) => git.clone().unwrap_or_else(|| settings.source.clone()),
        };
        Controller::new(Settings { supervisor: self.supervisor.clone(), source, ..settings }).await.unwrap()
    }

    /// Goes on with documents from a Git remote.
    pub async fn follow_git(&mut self, remote: &std::path::Path) {
        let settings = GitSettings::new(remote.display().to_string(), self.data.join("git"));
        self.git = Some(Arc::new(Source::git(settings, self.clock.clone())));
        self.restart_controller().await;
    }

    /// The namespace to which the repository is applied, on a cluster.
    pub(super) fn applied(&self) -> Option<&Applied> {
        self.applied.as_deref()
    }

    /// Its name.
    pub fn namespace(&self) -> Option<&str> {
        self.applied().map(Applied::namespace)
    }

    /// The processes of a workload, where there are workloads.
    pub fn processes(&self, workload: &str) -> Vec<ProcessStatus> {
        let all = self.supervisor.as_ref().map(Supervisor::observed).unwrap_or_default();
        all.into_iter().filter(|process| process.workload == workload).collect()
    }

    /// Has what stands in the repository applied, where behaviours are to hold on a cluster.
    pub async fn bring(&self) {
        let Some(applied) = &self.applied else { return };
        let snapshot = match &self.git {
            Some(git) => git.snapshot().await.ok(),
            None => betagate::source::read_folder(self.repo.path()).ok().map(Arc::new),
        };
        if let Some(snapshot) = snapshot {
            Box::pin(applied.bring(&snapshot, self.git.is_some())).await;
        }
    }

    /// One pass of the controller; then the API takes over what it published.
    pub async fn pass(&mut self) {
        self.bring().await;
        self.controller.pass().await.unwrap();
        self.refresh().await;
    }

    /// The API takes over what is published, and says so.
    pub async fn refresh(&self) {
        self.cache.refresh_now().await.unwrap();
    }

    /// Passes until `done`.
    pub async fn until(&mut self, what: &str, done: impl Fn(&Controller) -> bool) {
        for _ in 0..60 {
            self.pass().await;
            if done(&self.controller) {
                return;
            }
        }
        let states: Vec<_> =
            self.controller.programs().values().filter_map(|s| s.decision.as_ref()).map(|d| &d.states).collect();
        panic!("{what} did not come about: {states:#?}");
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn at(&self, instant: &str) {
        self.clock.set(instant.parse::<Timestamp>().unwrap());
    }

    /// A request with a JSON body: status and JSON answer.
    pub async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> (u16, Value) {
        let mut request = self.http.post(format!("http://{}{path}", self.address)).json(body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    /// An administrator's request with an idempotency key: status, JSON answer, and whether it was answered before.
    pub async fn post_keyed(&self, path: &str, key: &str, body: &Value) -> (u16, Value, bool) {
        let request = self.http.post(format!("http://{}{path}", self.address)).bearer_auth(ADMIN).json(body);
        let answer = request.header("idempotency-key", key).send().await.unwrap();
        let again = answer.headers().contains_key("idempotent-replayed");
        (answer.status().as_u16(), answer.json().await.unwrap_or_default(), again)
    }

    /// A request to be made ready and sent by the test.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method.parse().unwrap(), format!("http://{}{path}", self.address))
    }

    /// A request as it is: status, content type and JSON answer.
    pub async fn raw(&self, method: &str, path: &str, body: &str) -> (u16, String, Value) {
        let request = self.http.request(method.parse().unwrap(), format!("http://{}{path}", self.address));
        let answer = request.header("content-type", "application/json").body(body.to_owned()).send().await.unwrap();
        let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        (answer.status().as_u16(), kind.unwrap_or_default(), answer.json().await.unwrap_or_default())
    }

    /// A push that the forge tells of, with this signature.
    pub async fn push(&self, body: &str, signature: &str) -> u16 {
        let request = self.http.post(format!("http://{}/hooks/git", self.address)).body(body.to_owned());
        request.header("x-hub-signature-256", signature).send().await.unwrap().status().as_u16()
    }

    /// What a mail provider tells, with a header that proves who it is.
    pub async fn mail_hook(&self, body: &str, (header, value): (&str, &str)) -> (u16, Value) {
        let request = self.http.post(format!("http://{}/hooks/mail", self.address)).body(body.to_owned());
        let answer = request.header(header, value).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    /// A page, or a form that was sent: status and text.
    pub async fn page(&self, method: &str, path: &str, form: &str) -> (u16, String) {
        let request = self.http.request(method.parse().unwrap(), format!("http://{}{path}", self.address));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form.to_owned());
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub async fn get(&self, path: &str, token: Option<&str>) -> (u16, Value) {
        let mut request = self.http.get(format!("http://{}{path}", self.address));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    /// What stands at a path, as text.
    pub async fn text(&self, path: &str) -> String {
        self.http.get(format!("http://{}{path}", self.address)).send().await.unwrap().text().await.unwrap()
    }

    pub async fn register(&self, email: &str, code: &str) -> (u16, Value) {
        self.post(
            "/v1/auth/register",
            None,
            &json!({ "email": email, "password": "a long enough password", "invite": code }),
        )
        .await
    }

    /// What OFREP answers for a person.
    pub async fn flag(&self, key: &str, person: &str) -> Value {
        let (status, answer) = self
            .post(&format!("/ofrep/v1/evaluate/flags/{key}"), None, &json!({ "context": { "targetingKey": person } }))
            .await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Address and code of every rendered invite.
    pub fn invitations(&self) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = std::fs::read_dir(self.data.join("mail"))
            .unwrap()
            .filter_map(|entry| {
                let text = std::fs::read_to_string(entry.unwrap().path()).unwrap().replace("\r\n", "\n");
                let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
                let code = line("Your code is ")?.split('.').next()?.to_owned();
                Some((line("To: ")?.to_owned(), code))
            })
            .collect();
        found.sort();
        found
    }
}

fn settings(
    store: &Store,
    url: &str,
    clock: &Clock,
    repo: &TestRepo,
    data: &std::path::Path,
    keys: Arc<Keys>,
    address: SocketAddr,
) -> Settings {
    Settings {
        store: store.clone(),
        database_url: url.to_owned().into(),
        clock: clock.clone(),
        source: Arc::new(Source::folder(repo.path(), clock.clone())),
        git: None,
        data: data.to_owned(),
        keys,
        environment: None,
        supervisor: None,
        deployer: None,
        jobs: Some(Program::at(env!("CARGO_BIN_EXE_betagate"))),
        probe: Some(format!("http://{address}")),
        holder: "test".to_owned(),
        child_env: BTreeMap::new(),
    }
}
