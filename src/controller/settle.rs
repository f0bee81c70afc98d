//! Documents of a cluster, which is no atomic snapshot: each resource is accepted, waits, or keeps what it said when it was last accepted.
//!
//! What was accepted is kept in the database, so that a restart does not take a refused change for the first word. Must not know: the rules
//! (those are `core`'s), nor how a status is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use betagate_core::decide::RunMemory;
use betagate_core::desired::error::{Position, Problem};
use betagate_core::desired::settle::{Settled, Standing, settle};

use super::{Controller, ControllerError, remembered};
use crate::source::{File, Snapshot};
use crate::store::{accepted, leadership, memory};

/// The documents that count, and how each that is there stands.
#[derive(Default)]
pub(super) struct Ledger {
    documents: BTreeMap<String, File>,
    /// By path, of those that are not simply accepted: they are few.
    standing: BTreeMap<String, Standing>,
    /// The digest of each document that was judged.
    judged: BTreeMap<String, Arc<str>>,
}

impl Ledger {
    /// How a document stands, and whether it counts as it is, if it was judged as it is now.
    pub fn judged(&self, path: &str, digest: &str) -> Option<(&Standing, bool)> {
        self.judged.get(path).filter(|judged| ***judged == *digest)?;
        let counts = self.documents.get(path).is_some_and(|file| file.digest() == digest);
        Some((self.standing.get(path).unwrap_or(&Standing::Accepted), counts))
    }
}

impl Controller {
    /// Takes what of a snapshot can count.
    pub(super) async fn take_one_by_one(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), ControllerError> {
        let before = match self.ledger.take() {
            Some(ledger) => ledger.documents,
            None => self.accepted_before().await?,
        };
        let environment = self.settings.environment.as_deref();
        let default_prometheus = std::env::var("PROM_URL").is_ok();
        let same = |one: &File, other: &File| one.digest() == other.digest();
        let mut current = snapshot.document_files();
        let judged = current.iter().map(|(path, file)| (path.clone(), file.shared_digest())).collect();
        let early = self.early_words(&before, current.keys());
        current.retain(|path, _| !early.contains_key(path));
        let apart = &mut self.apart;
        apart.begin();
        let mut survey =
            |documents: &BTreeMap<String, File>| apart.survey(snapshot, documents, environment, default_prometheus);
        let Settled { documents, built, mut standing } = settle(&current, &before, same, &mut survey);
        // Of a cluster whose every program is gone: what was there.
        let last = built.desired.programs.is_empty().then(|| survey(&before));
        apart.end(last.as_ref().unwrap_or(&built), &current);
        standing.extend(early);
        standing.retain(|_, standing| *standing != Standing::Accepted);
        self.decided += 1;
        // Not there in a whole list is deleted. But what a run holds stays held, whatever is deleted.
        if let Some(last) = last
            && self.held_before(last.desired.programs.keys()).await?
        {
            let words = "every program was deleted while a rollback is in force: what was there goes on";
            tracing::warn!("{words}");
            self.problems = vec![Problem::new("", Position::START, "", words)];
            self.built = Some(last);
            self.built_from = Some(Arc::new(snapshot.with_documents(&before)));
            self.ledger = Some(Ledger { documents: before, standing, judged });
            return Ok(());
        }
        // Kept before it counts: a restart must not find less than was carried out.
        let kept = self.keep_accepted(&before, &documents).await;
        self.ledger =
            Some(Ledger { documents: if kept.is_ok() { documents.clone() } else { before }, standing, judged });
        kept?;
        tracing::info!(revision = %snapshot.revision.short(), programs = built.desired.programs.len(), "took what of the cluster counts");
        self.problems = self.ledger.iter().flat_map(|ledger| &ledger.standing).filter_map(problem).collect();
        let of_files = snapshot.problems.iter().map(|words| Problem::new("", Position::START, "", words));
        self.problems.extend(of_files);
        self.built = Some(built);
        // Most often all of them count as they are.
        let all = snapshot.document_files() == documents;
        let counts = || Arc::new(snapshot.with_documents(&documents));
        self.built_from = Some(if all { snapshot.clone() } else { counts() });
        Ok(())
    }

    /// Whether a run of one of these programs is in force.
    async fn held_before(&self, programs: impl Iterator<Item = &String>) -> Result<bool, ControllerError> {
        for program in programs {
            let documents = memory::load(&self.settings.store, program).await?;
            if remembered::read(program, &documents)?.runs.values().any(RunMemory::in_force) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn accepted_before(&self) -> Result<BTreeMap<String, File>, ControllerError> {
        let all = accepted::all(&self.settings.store).await?;
        let file = |(path, body): (String, String)| {
            let file = File::of_bytes(&path, body.into_bytes());
            (path, file)
        };
        Ok(all.into_iter().map(file).collect())
    }

    async fn keep_accepted(
        &self,
        before: &BTreeMap<String, File>,
        after: &BTreeMap<String, File>,
    ) -> Result<(), ControllerError> {
        let is_new =
            |(path, file): &(&String, &File)| before.get(*path).is_none_or(|known| known.digest() != file.digest());
        let new: Vec<_> = after.iter().filter(is_new).collect();
        let gone: Vec<_> = before.keys().filter(|path| !after.contains_key(*path)).collect();
        if new.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let now = self.settings.clock.now();
        let mut tx = self.settings.store.begin().await?;
        leadership::fence(&mut tx, self.epoch).await?;
        for (path, file) in new {
            let bytes = file.read().map_err(|error| ControllerError::Setup(error.to_string()))?;
            accepted::keep(&mut tx, path, &String::from_utf8_lossy(&bytes), now).await?;
        }
        for path in gone {
            accepted::forget(&mut tx, path).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// What is wrong with a resource, for whoever asks the controller for problems.
fn problem((path, standing): (&String, &Standing)) -> Option<Problem> {
    match standing {
        Standing::Accepted => None,
        Standing::Pending { why, .. } | Standing::Lingers(why) => {
            Some(Problem::new(path, Position::START, "", why.clone()).warning())
        }
        Standing::Refused { why, .. } => Some(Problem::new(path, Position::START, "", why.clone())),
    }
}
