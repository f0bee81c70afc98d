//! Who said a declared word, and how that is known: by the commit that brought it, or by the admission policy that let it in.
//!
//! Must not know: which words are needed, nor whether unproven ones count.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use betagate_core::desired::settle::Standing;
use betagate_core::desired::{ProgramDesired, Revision};
use betagate_core::resources::{Kind, SignoffSpec};
use jiff::Timestamp;
use serde_json::json;

use super::commit::ACTOR;
use super::{Controller, ControllerError};
use crate::cluster::{Bound, TAKES_HOLD, bound};
use crate::source::cluster::{Key, Seen};
use crate::store::audit::Entry;
use crate::store::signoffs;

/// What could not be asked is asked again after this.
const AGAIN: Duration = Duration::from_secs(30);

/// How it is known who said each declared word of a program.
pub(super) struct Proofs {
    /// Of each word that is new, on a cluster.
    of: BTreeMap<String, (bool, String)>,
    usual: (bool, String),
    on_cluster: bool,
    unknown: bool,
}

impl Proofs {
    fn of_revision(revision: &Revision) -> Self {
        let proof = match (revision.verified, &revision.author) {
            (true, _) => "the commit that brought it is signed",
            (false, Some(_)) => "the commit that brought it is not signed",
            (false, None) => "nothing proves who wrote its file",
        };
        let usual = (revision.verified, proof.to_owned());
        Self { of: BTreeMap::new(), usual, on_cluster: false, unknown: false }
    }

    /// Whether it is known who said a word, and why it is, or not; empty where nobody could look.
    pub fn of(&self, name: &str) -> (bool, &str) {
        let (verified, proof) = self.of.get(name).unwrap_or(&self.usual);
        (*verified, proof)
    }

    /// Whether the words came as resources, each by itself.
    pub fn are_of_resources(&self) -> bool {
        self.on_cluster
    }

    /// When to look again, where somebody could not be asked.
    pub fn again(&self) -> Option<Instant> {
        self.unknown.then(|| Instant::now() + AGAIN)
    }

    /// What the log says of a word that came.
    pub fn entry(&self, program: &str, name: &str, word: &SignoffSpec, at: Timestamp) -> Entry {
        let (verified, proof) = self.of(name);
        Entry {
            at,
            program: program.to_owned(),
            actor: if verified { format!("kubernetes/{}", word.by) } else { ACTOR.to_owned() },
            action: "signoff.declared".to_owned(),
            object: format!("Signoff/{name}"),
            detail: json!({ "word": word, "verified": verified, "proof": proof }),
        }
    }
}

impl Controller {
    /// Finds out who said the words of a program that nobody has looked at yet. Asked after they were seen: a policy that is in force now, and has
    /// not changed since before a word was given, was in force when it was.
    pub(super) async fn proofs(&self, program: &ProgramDesired) -> Result<Proofs, ControllerError> {
        let Some(watched) = self.settings.source.watched() else {
            let revision = self.built.as_ref().map(|built| built.desired.revision.clone()).unwrap_or_default();
            return Ok(Proofs::of_revision(&revision));
        };
        let kept = signoffs::list(&self.settings.store, program.name()).await?;
        let looked: BTreeSet<String> =
            kept.into_iter().filter(|word| !word.proof.is_empty()).map(|word| word.name).collect();
        let new: Vec<&String> = program.signoffs.keys().filter(|name| !looked.contains(*name)).collect();
        let mut proofs =
            Proofs { of: BTreeMap::new(), usual: (false, String::new()), on_cluster: true, unknown: false };
        if new.is_empty() {
            return Ok(proofs);
        }
        let cluster = watched.cluster();
        let bound = bound(cluster).await;
        let begun = watched.resource(Kind::Program, program.name()).and_then(|program| program.created);
        for name in new {
            let key = Key { kind: Kind::Signoff, name: name.clone() };
            let seen = watched.resource(Kind::Signoff, name).filter(|seen| self.counts(&key, seen));
            match proof(seen.as_deref(), begun, &bound) {
                Some(proof) => drop(proofs.of.insert(name.clone(), proof)),
                None => proofs.unknown = true,
            }
        }
        Ok(proofs)
    }

    /// Whether a resource counts as it was seen.
    fn counts(&self, key: &Key, seen: &Seen) -> bool {
        let judged = self.ledger.as_ref().and_then(|ledger| ledger.judged(&key.path(), seen.digest()));
        judged.is_some_and(|(_, counts)| counts)
    }

    /// The words that were given before their program was there, where a policy is to say who gives one: it lets them in, as there is nobody yet whom it
    /// could compare with. They do not count. What was accepted once is judged no more.
    pub(super) fn early_words<'a, D>(
        &self,
        accepted: &BTreeMap<String, D>,
        paths: impl Iterator<Item = &'a String>,
    ) -> BTreeMap<String, Standing> {
        let watched = self.settings.source.watched().filter(|watched| !watched.cluster().signoff_policies().is_empty());
        let Some(watched) = watched else { return BTreeMap::new() };
        let new = paths.filter(|path| !accepted.contains_key(*path));
        let early = new.filter(|path| {
            let key = Key::of_path(path).filter(|key| key.kind == Kind::Signoff);
            let word = key.and_then(|key| watched.resource(key.kind, &key.name)).filter(|word| !word.carried);
            word.is_some_and(|word| {
                let program = watched.resource(Kind::Program, &word.program);
                program.is_some_and(|program| word.created < program.created)
            })
        });
        let why = "it was given before its program was there, so that nobody could ask whose word it is: delete it and give it again";
        early.map(|path| (path.clone(), Standing::Refused { why: why.to_owned(), kept: false })).collect()
    }
}

/// Whether it is known who gave a word, and why it is, or not; nothing where that can't be said yet.
fn proof(word: Option<&Seen>, program: Option<Timestamp>, bound: &Bound) -> Option<(bool, String)> {
    let not = |why: &str| Some((false, why.to_owned()));
    let since = match bound {
        Bound::Since(since) => *since,
        Bound::Not(why) => return not(why),
        Bound::Unknown(why) => {
            tracing::warn!(%why, "it can't be said yet who gave a sign-off");
            return None;
        }
    };
    let Some((word, created)) = word.and_then(|word| Some((word, word.created?))) else {
        return not("its resource was gone before it was asked who gave it");
    };
    if word.carried {
        return not("it was carried by another than who gave it");
    }
    let holds = |since: Timestamp| since.checked_add(TAKES_HOLD).is_ok_and(|holds| created > holds);
    if !holds(since) {
        return not(&format!(
            "it was given before the admission policies of sign-offs were in force as they are, at {since}"
        ));
    }
    if !program.is_some_and(holds) {
        return not(
            "it was given before, or as soon as, its program was there, when nobody could be asked whose word it is",
        );
    }
    Some((true, "the API server let nobody else give it (admission policies of sign-offs)".to_owned()))
}
