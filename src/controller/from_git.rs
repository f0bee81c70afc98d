//! Git as what a namespace's resources are brought from: which revision counts, what is ordered of whoever applies, what is remembered and told.
//!
//! The resources hold the one truth, here as without Git. So a revision is taken whole or not at all, and while one is being applied the controller goes
//! on with what was there. Files that documents name stay in Git: which there are is remembered, so that a controller that can't reach Git loses nothing.
//! Must not know: how an object is written.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use betagate_core::desired::ProgramDesired;
use betagate_core::desired::error::{Position, Problem};
use betagate_core::resources::{Edge, Kind, Suspend};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::revision::build_snapshot;
use super::{Controller, ControllerError, Settings};
use crate::apply::from_git::{Drift, Keeper, Orders, Report, Revised};
use crate::source::cluster::{Key, Watched};
use crate::source::{File, Revision, Snapshot, Source};
use crate::status::cluster::Applied;
use crate::store::brought::{self, Brought};
use crate::store::status::{self, SourceState};
use crate::store::{Store, leadership};

/// The name of this source, in the store.
const GIT: &str = "git";
/// What is in force waits no longer than this for a revision that is being applied: a protection may be next.
const HELD_BACK: Duration = Duration::from_secs(5);
/// The text of files up to this size is remembered, where it is about nobody.
const REMEMBERED: u64 = 64 << 10;
/// Files that are about nobody.
const TEMPLATES: &str = "cohorts/templates/";
/// So many problems are told.
const TOLD: usize = 100;

/// What is brought from where.
#[derive(Clone)]
pub struct GitToCluster {
    /// The repository.
    pub source: Arc<Source>,
    /// What is done about a field that somebody changed.
    pub drift: Drift,
}

/// What the fetching task has brought.
#[derive(Clone)]
struct Fetched {
    newest: Arc<Snapshot>,
    /// The revision that was applied before this process began, should the newest not hold.
    before: Option<Arc<Snapshot>>,
}

/// What is known of Git, from one pass to the next.
pub(super) struct FromGit {
    git: GitToCluster,
    fetched: watch::Receiver<Option<Fetched>>,
    keeper: Keeper,
    /// The newest revision that was looked at.
    seen: Option<Revision>,
    /// What is wrong with it.
    problems: Vec<Problem>,
    /// The newest one that holds.
    taken: Option<Arc<Revised>>,
    /// The one that is remembered, and whose files are there.
    begun: Option<Arc<Revised>>,
    /// What is all there.
    applied: Option<Revision>,
    /// What is being applied.
    applying: Option<Revision>,
    /// The files beside the resources, also those of the revision before while one is being applied.
    files: BTreeMap<String, File>,
    /// What the last orders were made from.
    ordered: Option<(u64, String, Suspended)>,
    number: u64,
    since: Instant,
    report: Report,
    /// What was recorded last.
    recorded: Option<Value>,
    /// Rises with everything that is told of it.
    pub(super) version: u64,
    _fetching: JoinSet<()>,
}

type Suspended = BTreeMap<Key, (Value, Option<String>)>;

impl FromGit {
    /// How far it is, as its keeper says now.
    pub(super) fn reported(&self) -> Report {
        self.keeper.report()
    }

    /// Begins to fetch, with what is remembered of earlier; nothing where Git is not what the resources are brought from.
    pub(super) async fn start(
        settings: &Settings,
        epoch: i64,
        wake: &Arc<Notify>,
    ) -> Result<Option<Self>, ControllerError> {
        let known = status::sources(&settings.store).await?.into_iter().find(|source| source.name == GIT);
        let (Some(git), Some(watched)) = (settings.git.clone(), settings.source.watched()) else {
            if known.is_some() {
                forget(&settings.store, epoch).await?;
            }
            return Ok(None);
        };
        let remembered = |name: &str| {
            known
                .as_ref()
                .and_then(|known| serde_json::from_value::<Option<Revision>>(known.body[name].clone()).ok()?)
        };
        let (applied, applying) = (remembered("applied"), remembered("applying"));
        let files: BTreeMap<String, File> =
            brought::all(&settings.store).await?.into_iter().map(|file| (file.path.clone(), away(file))).collect();
        watched.lay(files.clone(), applied.clone());
        let (sender, fetched) = watch::channel(None);
        let mut fetching = JoinSet::new();
        let before = applying.as_ref().or(applied.as_ref()).map(|revision| revision.id.clone());
        fetching.spawn(fetch(git.source.clone(), before, sender, wake.clone()));
        Ok(Some(Self {
            keeper: Keeper::start(settings.source.clone(), wake.clone()),
            git,
            fetched,
            seen: None,
            problems: Vec::new(),
            taken: None,
            begun: None,
            applied,
            applying,
            files,
            ordered: None,
            number: 0,
            since: Instant::now(),
            report: Report::default(),
            recorded: None,
            version: 0,
            _fetching: fetching,
        }))
    }

    /// Looks at the newest revision, if it was not looked at yet.
    fn take_newest(&mut self, namespace: &str, environment: Option<&str>) {
        let Some(fetched) = self.fetched.borrow_and_update().clone() else { return };
        if self.seen.as_ref() == Some(&fetched.newest.revision) {
            return;
        }
        self.seen = Some(fetched.newest.revision.clone());
        match judged(&fetched.newest, namespace, environment) {
            Ok(revised) => {
                tracing::info!(revision = %revised.revision.short(), objects = revised.objects.len(), "a revision of Git holds");
                (self.taken, self.problems) = (Some(Arc::new(revised)), Vec::new());
            }
            Err(problems) => {
                let first = problems.first().map(ToString::to_string).unwrap_or_default();
                let revision = fetched.newest.revision.short();
                tracing::warn!(%revision, problems = problems.len(), %first, "a revision of Git is refused; what is there goes on");
                self.problems = problems;
                if self.taken.is_none() {
                    let before = fetched.before.as_ref().and_then(|it| judged(it, namespace, environment).ok());
                    self.taken = before.map(Arc::new);
                }
            }
        }
    }

    /// Whether Git has not said anything yet, not even that it can't be reached: its files can't be read before.
    fn awaits_first(&self) -> bool {
        let said = self.fetched.borrow().is_some() || self.git.source.state().failure.is_some();
        !said && self.since.elapsed() < HELD_BACK
    }

    /// Whether what is in force should wait until what was ordered is there.
    fn holds_back(&self) -> bool {
        let busy = self.report.number < self.number || !self.report.finished;
        self.number > 0 && busy && self.since.elapsed() < HELD_BACK
    }

    /// What a resource's status says of where it came from. Nothing where there is nothing to say.
    pub(super) fn told_of(&self, key: &Key, ours: bool) -> Option<Applied> {
        let said = |status, reason: &str, message: String| Some(Applied { status, reason: reason.to_owned(), message });
        if let Some(trouble) = self.report.troubles.get(key) {
            return said("False", trouble.reason(), trouble.to_string());
        }
        if key.kind != Kind::Program || !ours {
            return None;
        }
        let short =
            |revision: &Option<Revision>| revision.as_ref().map_or_else(|| "none yet".to_owned(), Revision::short);
        if !self.problems.is_empty() {
            let words = format!(
                "revision {} is refused, {} problem(s); revision {} goes on (betagate status)",
                short(&self.seen),
                self.problems.len(),
                short(&self.applied)
            );
            return said("False", "RevisionRefused", words);
        }
        if let Some(failure) = self.git.source.state().failure {
            return said("Unknown", "Unreachable", failure.message);
        }
        if self.applying.is_some() {
            return said("False", "Applying", format!("revision {}", short(&self.applying)));
        }
        said("True", "Current", format!("revision {}", short(&self.applied)))
    }

    /// What `betagate status` tells.
    fn record(&self) -> Value {
        let refused = self.problems.iter().map(ToString::to_string);
        let troubles = self.report.troubles.iter();
        let troubles = troubles.map(|(key, trouble)| format!("{}/{}: {trouble}", key.kind, key.name));
        let problems: Vec<String> = refused.chain(troubles).collect();
        let state = self.git.source.state();
        json!({
            "source": { "place": state.place, "failure": state.failure.map(|it| json!({ "message": it.message, "since": it.since })) },
            "seen": self.seen,
            "applied": self.applied,
            "applying": self.applying,
            "problems": problems.iter().take(TOLD).collect::<Vec<_>>(),
            "problemCount": problems.len(),
        })
    }
}

/// What a revision wants in this namespace, if it holds: as it stands in its files, and as the cluster will tell it.
fn judged(snapshot: &Snapshot, namespace: &str, environment: Option<&str>) -> Result<Revised, Vec<Problem>> {
    let judging = AssertUnwindSafe(|| holds(snapshot, namespace, environment));
    std::panic::catch_unwind(judging).unwrap_or_else(|_| {
        let words = "it could not be looked at by a fault of betagate: what is there goes on";
        tracing::error!(revision = %snapshot.revision.short(), "{words}");
        Err(vec![Problem::new("", Position::START, "", words)])
    })
}

fn holds(snapshot: &Snapshot, namespace: &str, environment: Option<&str>) -> Result<Revised, Vec<Problem>> {
    let default_prometheus = std::env::var("PROM_URL").is_ok();
    build_snapshot(snapshot, environment, default_prometheus)?;
    let revised = Revised::of(snapshot, namespace)?;
    build_snapshot(&revised.as_told(), environment, default_prometheus)?;
    Ok(revised)
}

/// Fetches whenever there is a reason to, beside the passes: a remote that hangs holds up no protection.
async fn fetch(git: Arc<Source>, before: Option<String>, out: watch::Sender<Option<Fetched>>, wake: Arc<Notify>) {
    let mut known: Option<Option<Arc<Snapshot>>> = None;
    let mut failing = None;
    loop {
        if let Ok(newest) = git.snapshot().await {
            if known.is_none() {
                known = Some(match &before {
                    Some(id) if *id != newest.revision.id => git.at(id).await.ok(),
                    _ => None,
                });
            }
            let same = |fetched: &Fetched| Arc::ptr_eq(&fetched.newest, &newest);
            if !out.borrow().as_ref().is_some_and(same) {
                let _ = out.send_replace(Some(Fetched { newest, before: known.clone().flatten() }));
                wake.notify_one();
            }
        }
        let now = git.state().failure.map(|failure| failure.message);
        if now != failing {
            failing = now;
            wake.notify_one();
        }
        git.next_change().await;
    }
}

impl Controller {
    /// Follows Git, where the resources are brought from there.
    pub(super) async fn follow_git(&mut self) -> Result<(), ControllerError> {
        let Some(mut git) = self.git.take() else { return Ok(()) };
        let followed = self.follow(&mut git).await;
        self.git = Some(git);
        followed
    }

    /// Whether what is in force is to wait for Git.
    pub(super) fn waits_for_git(&self) -> bool {
        let waits = |git: &FromGit| git.awaits_first() || (self.built.is_some() && git.holds_back());
        self.git.as_ref().is_some_and(waits)
    }

    async fn follow(&mut self, git: &mut FromGit) -> Result<(), ControllerError> {
        let source = self.settings.source.clone();
        let Some(watched) = source.watched() else { return Ok(()) };
        git.take_newest(watched.cluster().namespace(), self.settings.environment.as_deref());
        self.begin(git, watched).await?;
        self.faults.at(|| "git: before orders".to_owned()).await;
        self.order(git, watched);
        let report = git.keeper.report();
        if report != git.report {
            git.version += u64::from(report.troubles != git.report.troubles);
            git.report = report;
        }
        self.end(git, watched).await?;
        let record = git.record();
        if git.recorded.as_ref() != Some(&record) {
            self.record_git(git, &record, false).await?;
        }
        Ok(())
    }

    /// Remembers a revision before anything of it is applied, with the files of both: whoever goes on after this process knows them all.
    async fn begin(&self, git: &mut FromGit, watched: &Watched) -> Result<(), ControllerError> {
        let Some(taken) = git.taken.clone() else { return Ok(()) };
        if git.begun.as_ref().is_some_and(|begun| Arc::ptr_eq(begun, &taken)) {
            return Ok(());
        }
        let mut files = git.files.clone();
        files.extend(taken.files.clone());
        if git.applying.as_ref().or(git.applied.as_ref()) != Some(&taken.revision) {
            let before =
                (git.applying.replace(taken.revision.clone()), std::mem::replace(&mut git.files, files.clone()));
            let record = git.record();
            if let Err(error) = self.record_git(git, &record, true).await {
                (git.applying, git.files) = before;
                return Err(error);
            }
        }
        if git.applying.is_none() {
            files.clone_from(&taken.files);
        }
        git.files.clone_from(&files);
        watched.lay(files, git.applied.clone());
        git.begun = Some(taken);
        Ok(())
    }

    /// Orders what should be there, if anything changed since it was ordered.
    fn order(&self, git: &mut FromGit, watched: &Watched) {
        let Some(taken) = git.begun.clone() else { return };
        let as_before = |(version, revision, suspended): &(u64, String, Suspended)| {
            *version == watched.version() && *revision == taken.revision.id && suspended.is_empty()
        };
        // Where nothing is suspended no time runs out.
        if git.ordered.as_ref().is_some_and(as_before) {
            return;
        }
        let suspended = self.suspended_resources(watched);
        let moment = (watched.version(), taken.revision.id.clone(), suspended);
        if git.ordered.as_ref() == Some(&moment) {
            return;
        }
        if git.report.number == git.number && git.report.finished {
            git.since = Instant::now();
        }
        git.number += 1;
        let (number, drift) = (git.number, git.git.drift);
        git.keeper.order(Orders { number, wanted: taken, drift, suspended: moment.2.clone() });
        git.ordered = Some(moment);
    }

    /// Remembers that a revision is all there, and lets go of the files of the one before.
    async fn end(&self, git: &mut FromGit, watched: &Watched) -> Result<(), ControllerError> {
        let Some(taken) = git.taken.clone() else { return Ok(()) };
        let there = git.report.number == git.number && git.report.finished;
        if !there || git.applying.as_ref() != Some(&taken.revision) {
            return Ok(());
        }
        let before = (git.applying.take(), git.applied.replace(taken.revision.clone()));
        let files = std::mem::replace(&mut git.files, taken.files.clone());
        let record = git.record();
        if let Err(error) = self.record_git(git, &record, true).await {
            ((git.applying, git.applied), git.files) = (before, files);
            return Err(error);
        }
        tracing::info!(revision = %taken.revision.short(), "a revision of Git is applied");
        watched.lay(taken.files.clone(), git.applied.clone());
        Ok(())
    }

    /// The `suspend` of every resource that has one, with the words for it while it is in force.
    fn suspended_resources(&self, watched: &Watched) -> Suspended {
        let said = watched.resources().into_iter().filter_map(|(key, seen)| {
            let suspend = seen.marks.as_ref()?.suspend.clone()?;
            let program = if key.kind == Kind::Program { key.name.clone() } else { seen.program.clone() };
            let words = self.in_force(&program, &suspend);
            Some((key, (suspend, words)))
        });
        said.collect()
    }

    /// Why and until when something is left alone, if that is not over. What can't be read yet leaves it alone: it is asked again.
    fn in_force(&self, program: &str, suspend: &Value) -> Option<String> {
        let Ok(suspend) = serde_json::from_value::<Suspend>(suspend.clone()) else {
            return Some("suspended, in words that can't be read".to_owned());
        };
        let known = self.built.as_ref().and_then(|built| built.desired.programs.get(program));
        let zone = known.and_then(|program| TimeZone::get(&program.program.spec.time_zone).ok());
        let (zone, day0) = (zone.unwrap_or(TimeZone::UTC), known.and_then(|known| self.known_day0(known)));
        let now = self.settings.clock.now();
        let today = now.to_zoned(zone.clone()).date();
        let until: Timestamp = suspend.until.resolve(day0.unwrap_or(today), &zone, Edge::End);
        (now < until).then(|| format!("suspended until {until} by {}: {}", suspend.by, suspend.reason))
    }

    fn known_day0(&self, program: &ProgramDesired) -> Option<jiff::civil::Date> {
        let decided = self.programs.get(program.name()).and_then(|state| state.decision.as_ref());
        program.program.spec.starts_on.or_else(|| decided.and_then(|decision| decision.memory.program.day0))
    }

    async fn record_git(&self, git: &mut FromGit, record: &Value, files: bool) -> Result<(), ControllerError> {
        let mut tx = self.settings.store.begin().await?;
        leadership::fence(&mut tx, self.epoch).await?;
        if files {
            let all: Vec<Brought> = git.files.iter().map(|(path, file)| kept(path, file)).collect();
            brought::keep(&mut tx, &all).await?;
        }
        let revision = git.applied.as_ref().map(|revision| revision.id.clone());
        let body = record.clone();
        let state = SourceState { name: GIT.to_owned(), revision, body, updated_at: self.settings.clock.now() };
        status::put_source(&mut tx, &state).await?;
        tx.commit().await?;
        git.recorded = Some(record.clone());
        git.version += 1;
        Ok(())
    }
}

/// A file as it is remembered: its text only where it is about nobody.
fn kept(path: &str, file: &File) -> Brought {
    let small = path.starts_with(TEMPLATES) && file.size() <= REMEMBERED;
    let text = file.read().ok().filter(|_| small).and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    let size = i64::try_from(file.size()).unwrap_or(i64::MAX);
    Brought { path: path.to_owned(), size, digest: file.digest().to_owned(), body: text }
}

/// A file as it is known without Git.
fn away(file: Brought) -> File {
    match file.body {
        Some(text) => File::of_bytes(&file.path, text.into_bytes()),
        None => File::away(&file.path, u64::try_from(file.size).unwrap_or_default(), &file.digest),
    }
}

/// Git was taken away from this installation: what it brought stays, its files and what was told of it go.
async fn forget(store: &Store, epoch: i64) -> Result<(), ControllerError> {
    let mut tx = store.begin().await?;
    leadership::fence(&mut tx, epoch).await?;
    brought::keep(&mut tx, &[]).await?;
    status::forget_source(&mut tx, GIT).await?;
    tx.commit().await?;
    Ok(())
}
