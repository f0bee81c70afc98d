//! What makes a list wait for a person, and which person's word lets it through.
//!
//! A word names what was seen by its digest, and both digests can be known from Git alone: that of the list, for its warnings; that of the
//! change from the list before, for a change that revokes many or comes after the lock.
//!
//! Must not know: where words are kept, how a list is brought in.

use betagate_core::desired::ProgramDesired;
use betagate_core::resources::{Edge, Says, SignoffSpec, Verified};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// The people's words that may acknowledge something of a program.
pub(in crate::controller) struct Words<'a> {
    program: &'a ProgramDesired,
    /// What was said, by which name, and whether it is proven by whom.
    said: Vec<(&'a str, &'a SignoffSpec, bool)>,
    /// `None`: days from the program's start can't be counted yet.
    day0: Option<Date>,
    now: Timestamp,
}

impl<'a> Words<'a> {
    pub(in crate::controller) fn new(
        program: &'a ProgramDesired,
        said: Vec<(&'a str, &'a SignoffSpec, bool)>,
        day0: Option<Date>,
        now: Timestamp,
    ) -> Self {
        Self { program, said, day0, now }
    }

    /// The name of a word that acknowledges a cohort's list or change under one of these digests, and counts now.
    pub(super) fn acknowledging(&self, cohort: &str, digests: &[&str]) -> Option<&'a str> {
        let rules = self.program.program.spec.signoffs.as_ref();
        let verified_only = rules.is_some_and(|rules| rules.verified == Verified::Required);
        let object = format!("Cohort/{cohort}");
        let found = self.said.iter().find(|(_, word, verified)| {
            word.says == Says::Acknowledge
                && word.object.as_deref() == Some(&object)
                && word.digest.as_deref().is_some_and(|digest| digests.contains(&digest.trim()))
                && (*verified || !verified_only)
                && self.still_counts(word)
        });
        found.map(|(name, ..)| *name)
    }

    fn still_counts(&self, word: &SignoffSpec) -> bool {
        let (Some(until), Some(day0)) = (word.until, self.day0) else { return true };
        self.now < until.resolve(day0, &zone(self.program), Edge::End)
    }
}

pub(super) fn zone(program: &ProgramDesired) -> TimeZone {
    TimeZone::get(&program.program.spec.time_zone).unwrap_or(TimeZone::UTC)
}

/// Why a list may have to wait.
#[derive(Default)]
pub(super) struct Reasons {
    /// Its warnings: acknowledged by the digest of the list, or of the change.
    pub of_list: Vec<String>,
    /// That it comes after the lock, or does much to many: acknowledged by the digest of the change alone.
    pub of_change: Vec<String>,
}

/// Why a list waits, and what lets it through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Guard {
    pub reason: String,
    /// What a word has to name.
    pub digest: String,
}

impl Reasons {
    /// What is left of the reasons once people's words are heard.
    pub(super) fn heard(self, words: &Words<'_>, cohort: &str, list: &str, change: &str) -> Option<Guard> {
        let Self { mut of_list, mut of_change } = self;
        if !of_list.is_empty() && words.acknowledging(cohort, &[list, change]).is_some() {
            of_list.clear();
        }
        if !of_change.is_empty() && words.acknowledging(cohort, &[change]).is_some() {
            of_change.clear();
        }
        let digest = if of_change.is_empty() { list } else { change }.to_owned();
        of_list.append(&mut of_change);
        (!of_list.is_empty()).then(|| Guard { reason: of_list.join("; "), digest })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]
    use betagate_core::desired::{BuildOptions, Revision, build};

    use super::*;

    fn program(more: &str) -> ProgramDesired {
        let text = format!(
            "apiVersion: betagate.dev/v1alpha1\nkind: Program\nmetadata: {{ name: kruxt }}\nspec: {{ timeZone: Europe/Rome, people: {{ ana: {{}} }}{more} }}\n"
        );
        let file_exists = |_: &str| true;
        let options = BuildOptions { environment: None, default_prometheus: false, file_exists: &file_exists };
        let built = build(vec![("program.yaml", text.as_str())], Revision::default(), &options).unwrap();
        ProgramDesired::clone(&built.desired.programs["kruxt"])
    }

    fn word(digest: &str, until: Option<&str>) -> SignoffSpec {
        let mut word = serde_json::json!({ "program": "kruxt", "by": "ana", "says": "acknowledge", "object": "Cohort/pavia", "digest": digest });
        if let Some(until) = until {
            word["until"] = until.into();
        }
        serde_json::from_value(word).unwrap()
    }

    fn both() -> Reasons {
        Reasons { of_list: vec!["warned".to_owned()], of_change: vec!["many".to_owned()] }
    }

    #[test]
    fn a_lists_digest_covers_its_warnings_and_the_changes_digest_covers_all() {
        let program = program("");
        let now = "2026-03-02T12:00:00Z".parse().unwrap();
        let heard = |word: &SignoffSpec, cohort: &str| {
            let words = Words::new(&program, vec![("w", word, false)], Some(Date::constant(2026, 3, 2)), now);
            both().heard(&words, cohort, "list", "change")
        };
        let guard = |reason: &str, digest: &str| Some(Guard { reason: reason.to_owned(), digest: digest.to_owned() });
        assert_eq!(heard(&word("other", None), "pavia"), guard("warned; many", "change"));
        assert_eq!(heard(&word("list", None), "pavia"), guard("many", "change"));
        assert_eq!(heard(&word("change", None), "pavia"), None);
        assert_eq!(heard(&word("change", None), "lyon"), guard("warned; many", "change"));
        assert_eq!(heard(&word("change", Some("2026-03-01")), "pavia"), guard("warned; many", "change"));
        assert_eq!(heard(&word("change", Some("+0d")), "pavia"), None);
        let only_warned = Reasons { of_list: vec!["warned".to_owned()], ..Reasons::default() };
        let words = Words::new(&program, Vec::new(), None, now);
        assert_eq!(only_warned.heard(&words, "pavia", "list", "change"), guard("warned", "list"));
    }

    #[test]
    fn where_words_must_be_proven_an_unproven_one_lets_nothing_through() {
        let program = program(", signoffs: { verified: required }");
        let word = word("list", None);
        for (verified, counts) in [(false, false), (true, true)] {
            let words = Words::new(&program, vec![("w", &word, verified)], None, Timestamp::UNIX_EPOCH);
            assert_eq!(words.acknowledging("pavia", &["list"]).is_some(), counts);
        }
    }
}
