//! A revision of the source: taken whole, or not at all; then the last good one goes on.

use std::sync::Arc;

use betagate_core::decide::RunMemory;
use betagate_core::desired::error::{Position, Problem, sorted};
use betagate_core::desired::{BuildOptions, Built, Revision, survey};
use serde_json::json;

use super::commit::ACTOR;
use super::{Controller, ControllerError, remembered};
use crate::source::Snapshot;
use crate::store::status::{self, SourceState};
use crate::store::{invites, leadership, memory};

/// The name of the one source of a controller, in the store.
const SOURCE: &str = "main";

/// Builds what a snapshot wants.
///
/// # Errors
/// Every problem of every document.
pub fn build_snapshot(
    snapshot: &Snapshot,
    environment: Option<&str>,
    default_prometheus: bool,
) -> Result<Built, Vec<Problem>> {
    let built = survey_snapshot(snapshot, environment, default_prometheus);
    if built.warnings.iter().any(Problem::is_error) { Err(built.warnings) } else { Ok(built) }
}

/// The same, as far as can be: with errors among its problems it is only for looking at what else is wrong.
pub fn survey_snapshot(snapshot: &Snapshot, environment: Option<&str>, default_prometheus: bool) -> Built {
    let mut texts = Vec::new();
    let mut unreadable = Vec::new();
    for (path, bytes) in snapshot.documents() {
        // What can be read of a file keeps the names in it from being unknown too.
        let text = String::from_utf8_lossy(bytes);
        if let Err(error) = std::str::from_utf8(bytes) {
            let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let line = u32::try_from(before.matches('\n').count()).unwrap_or(u32::MAX - 1) + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
            let at = Position::new(line, u32::try_from(column).unwrap_or(u32::MAX - 1) + 1);
            unreadable.push(Problem::new(path, at, "", "the file is not UTF-8 text"));
        }
        texts.push((path, text));
    }
    let file_exists = |path: &str| snapshot.files.contains_key(path);
    let options = BuildOptions { environment, default_prometheus, file_exists: &file_exists };
    let texts = texts.iter().map(|(path, text)| (*path, text.as_ref()));
    let (desired, problems) = survey(texts, revision_of(snapshot), &options);
    unreadable.extend(problems);
    unreadable.extend(super::dataset_files::problems(snapshot, &desired));
    Built { desired, warnings: sorted(unreadable) }
}

/// Which revision a snapshot is of, and who made it.
pub(super) fn revision_of(snapshot: &Snapshot) -> Revision {
    let about = &snapshot.revision;
    Revision {
        id: about.commit.clone().unwrap_or_else(|| about.id.clone()),
        author: about.author.as_ref().map(|author| author.email.clone()),
        verified: about.author.as_ref().is_some_and(|author| author.verified),
        at: about.committed_at,
    }
}

impl Controller {
    /// Takes the newest revision, if it holds; records what is wrong with it otherwise.
    pub(super) async fn take_revision(&mut self) -> Result<(), ControllerError> {
        let snapshot = match self.settings.source.snapshot().await {
            Ok(snapshot) => snapshot,
            Err(error) => {
                tracing::warn!(error = %error, "there is no revision to work with");
                return self.record_source(None).await;
            }
        };
        let same = self.snapshot.as_ref().is_some_and(|known| known.revision == snapshot.revision);
        let failing = self.settings.source.state().failure.is_some();
        if same && !failing {
            return Ok(());
        }
        if !same {
            if self.settings.source.watched().is_some() {
                self.take_one_by_one(&snapshot).await?;
            } else {
                self.build(&snapshot);
            }
            self.snapshot = Some(snapshot);
        }
        self.close_gone_programs().await?;
        self.forget_gone_programs().await?;
        let revision = self.built.as_ref().map(|built| built.desired.revision.id.clone());
        self.record_source(revision).await
    }

    fn build(&mut self, snapshot: &Arc<Snapshot>) {
        debug_assert!(snapshot.files.keys().any(|path| snapshot.is_document(path)) || snapshot.files.is_empty());
        let default_prometheus = std::env::var("PROM_URL").is_ok();
        match build_snapshot(snapshot, self.settings.environment.as_deref(), default_prometheus) {
            // An emptied source is more often a mistake than a wish, and there is nobody left in it whose word could be asked.
            Ok(built) if built.desired.programs.is_empty() && self.has_programs() => {
                let words = "the source holds no program any more: what was there goes on";
                tracing::warn!(revision = %snapshot.revision.short(), "{words}");
                self.problems = vec![Problem::new("", Position::START, "", words)];
            }
            Ok(built) => {
                tracing::info!(revision = %snapshot.revision.short(), programs = built.desired.programs.len(), "took a revision");
                let commands = built.desired.programs.values().flat_map(|program| program.commands());
                self.workplace.in_force(snapshot, commands.flatten().cloned().collect());
                self.built = Some(built);
                self.built_from = Some(snapshot.clone());
                self.problems.clear();
            }
            Err(problems) => {
                let first = problems.first().map(ToString::to_string).unwrap_or_default();
                tracing::warn!(revision = %snapshot.revision.short(), problems = problems.len(), %first, "a revision is refused; the last good one goes on");
                self.problems = problems;
            }
        }
    }

    fn has_programs(&self) -> bool {
        self.built.as_ref().is_some_and(|built| !built.desired.programs.is_empty())
    }

    /// Closes the cohorts of programs that the revision has no more, while it has others: nobody comes in any more. What else they left stays as it
    /// is, for their documents may come back, and there is nobody whose word could be asked.
    async fn close_gone_programs(&mut self) -> Result<(), ControllerError> {
        // A cluster tells for certain that the last one was deleted.
        let certain = self.has_programs() || self.settings.source.watched().is_some();
        let Some(built) = self.built.as_ref().filter(|_| certain) else { return Ok(()) };
        let open = invites::open_programs(&self.settings.store).await?;
        for program in open.into_iter().filter(|program| !built.desired.programs.contains_key(program)) {
            let now = self.settings.clock.now();
            let mut tx = self.settings.store.begin().await?;
            leadership::fence(&mut tx, self.epoch).await?;
            let closed = invites::close_all(&mut tx, &program, ACTOR, now).await?;
            tx.commit().await?;
            tracing::warn!(%program, closed, "the program's documents are gone: its cohorts were closed");
        }
        Ok(())
    }

    /// Forgets the statuses and accepted documents of programs that the revision has no more: nobody is asked to choose between a program and one
    /// that is gone. One with a rollback in force is kept as it is until that is lifted.
    async fn forget_gone_programs(&mut self) -> Result<(), ControllerError> {
        let Some(built) = self.built.as_ref().filter(|_| self.has_programs()) else { return Ok(()) };
        let known = status::programs(&self.settings.store).await?;
        for program in known.into_iter().filter(|program| !built.desired.programs.contains_key(program)) {
            let documents = memory::load(&self.settings.store, &program).await?;
            if remembered::read(&program, &documents)?.runs.values().any(RunMemory::in_force) {
                continue;
            }
            let mut tx = self.settings.store.begin().await?;
            leadership::fence(&mut tx, self.epoch).await?;
            status::forget_program(&mut tx, &program).await?;
            tx.commit().await?;
            // Should its documents come back, everything is written again.
            if let Some(state) = self.programs.get_mut(&program) {
                (state.statuses, state.recorded) = (None, None);
            }
        }
        Ok(())
    }

    async fn record_source(&self, revision: Option<String>) -> Result<(), ControllerError> {
        let state = self.settings.source.state();
        let problems: Vec<String> = self.problems.iter().take(100).map(ToString::to_string).collect();
        let body = json!({
            "source": state,
            "seen": self.snapshot.as_ref().map(|snapshot| snapshot.revision.clone()),
            "problems": problems,
            "problemCount": self.problems.len(),
        });
        let mut tx = self.settings.store.begin().await?;
        let source = SourceState { name: SOURCE.to_owned(), revision, body, updated_at: self.settings.clock.now() };
        status::put_source(&mut tx, &source).await?;
        tx.commit().await?;
        Ok(())
    }
}
