//! Waivers and accepted mitigations: whose count, since when, and until when (product page, "Sign-offs").
//!
//! Must not know: what a check measures.

use super::{SignoffFact, pass::Pass};
use crate::resources::{GateSpec, Says};

impl Pass<'_> {
    /// Whoever authored the change that a check speaks of: the one that was in force when its miss began, else the newest one. Nobody waives a
    /// check, or accepts its mitigation, for a change of their own.
    fn author(&self, gate: &str, check: &str) -> Option<String> {
        let memory = self.memory.gates.get(gate);
        match memory.and_then(|memory| memory.missed_under.get(check)) {
            Some(author) => author.clone(),
            None => self.memory.program.changed_by.clone(),
        }
    }

    /// Who waived a check; else whose waiver there is that does not count.
    pub fn waiver(&mut self, gate: &str, check: &str) -> (Option<String>, Option<String>) {
        let words = self.words_about_check(Says::Waive, gate, check);
        let author = self.author(gate, check);
        apart(&words, author.as_deref(), |_| true)
    }

    /// Who accepted a mitigation of a miss: first seen after it began, not run out, and by the gate's owner where it has one (by anybody else, where the
    /// owner authored the change). Else whose there is that does not count.
    pub fn mitigation(&mut self, gate: &str, spec: &GateSpec, check: &str) -> (Option<String>, Option<String>) {
        let since = self.memory.gates.get(gate).and_then(|memory| memory.missed_since.get(check)).copied();
        let since = since.unwrap_or(self.now);
        let mut words = self.words_about_check(Says::AcceptMitigation, gate, check);
        words.retain(|word| word.first_seen >= since);
        let author = self.author(gate, check);
        let owner = spec.owner.as_ref().filter(|owner| author.as_ref() != Some(owner));
        apart(&words, author.as_deref(), |by| owner.is_none_or(|owner| owner == by))
    }
}

/// The first word that counts, and, where there is none, one of the change's own author.
fn apart(
    words: &[&SignoffFact],
    author: Option<&str>,
    may: impl Fn(&String) -> bool,
) -> (Option<String>, Option<String>) {
    let own = |word: &&&SignoffFact| author == Some(word.spec.by.as_str());
    match words.iter().find(|word| !own(word) && may(&word.spec.by)) {
        Some(word) => (Some(word.spec.by.clone()), None),
        None => (None, words.iter().find(own).map(|word| word.spec.by.clone())),
    }
}
