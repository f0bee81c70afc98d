//! One pass of `decide`: what it works on, and what it gathers.

use std::collections::BTreeMap;

use jiff::{Timestamp, Zoned, civil::Date, tz::TimeZone};

use super::{Event, GateVerdict, Memory, Message, ObjectState, Readings, SealedReview, SignoffFact, Verdict};
use crate::{
    desired::{ProgramDesired, Revision},
    resources::{Edge, Moment, Person, Says, SignoffSpec, Verified},
};

/// The state of one pass. Its verbs are in the files of this room, one a subject.
pub(super) struct Pass<'a> {
    pub program: &'a ProgramDesired,
    pub revision: &'a Revision,
    pub readings: &'a Readings,
    pub now: Timestamp,
    pub zone: TimeZone,
    pub day0: Date,
    pub memory: Memory,
    pub verdicts: BTreeMap<String, GateVerdict>,
    pub sealed: Vec<SealedReview>,
    pub messages: Vec<Message>,
    pub events: Vec<Event>,
    pub states: BTreeMap<String, ObjectState>,
    wake: Option<Timestamp>,
}

impl<'a> Pass<'a> {
    pub fn new(
        program: &'a ProgramDesired,
        revision: &'a Revision,
        readings: &'a Readings,
        memory: &Memory,
        now: Timestamp,
    ) -> Self {
        let zone = TimeZone::get(&program.program.spec.time_zone).unwrap_or(TimeZone::UTC);
        let mut memory = memory.clone();
        let first_seen = *memory.program.first_seen.get_or_insert(now);
        let day0 = program.program.spec.starts_on.or(memory.program.day0);
        let day0 = day0.unwrap_or_else(|| monday_of(&first_seen.to_zoned(zone.clone())));
        memory.program.day0 = Some(day0);
        if memory.program.content.as_deref() != Some(&program.content) {
            memory.program.content = Some(program.content.clone());
            memory.program.changed_by = person_of(program, revision);
        }
        Self {
            program,
            revision,
            readings,
            now,
            zone,
            day0,
            memory,
            verdicts: BTreeMap::new(),
            sealed: Vec::new(),
            messages: Vec::new(),
            events: Vec::new(),
            states: BTreeMap::new(),
            wake: None,
        }
    }

    /// When the program was first seen.
    pub fn first_seen(&self) -> Timestamp {
        self.memory.program.first_seen.unwrap_or(self.now)
    }

    /// The instant a moment means in this program.
    pub fn resolve(&self, moment: Moment, edge: Edge) -> Timestamp {
        moment.resolve(self.day0, &self.zone, edge)
    }

    /// Asks to be called again at `at`, if that lies ahead.
    pub fn look_again(&mut self, at: Timestamp) {
        if at > self.now && self.wake.is_none_or(|wake| at < wake) {
            self.wake = Some(at);
        }
    }

    /// The earliest time that was asked for.
    pub fn wake(&self) -> Option<Timestamp> {
        self.wake
    }

    /// Records that something happened.
    pub fn event(&mut self, object: impl Into<String>, reason: &str, message: impl Into<String>) {
        self.events.push(Event { object: object.into(), reason: reason.to_owned(), message: message.into() });
    }

    /// The words that count of those that `wanted` picks: each person's latest, if it is known who said it where that is asked for.
    pub fn words(&self, wanted: impl Fn(&SignoffSpec) -> bool) -> Vec<&'a SignoffFact> {
        latest_words(self.program, &self.readings.signoffs, self.now, wanted)
    }

    /// Those of the words that `wanted` picks that do not count only because nothing proves who said them, in words; empty where there are none.
    pub fn unproven(&self, wanted: impl Fn(&SignoffFact) -> bool) -> String {
        let ignored = self.readings.signoffs.iter().filter(|word| self.is_ignored(word) && wanted(word));
        ignored.map(|word| format!("; {} of {} does not count: {}", word.name, word.spec.by, proof(word))).collect()
    }

    /// Whether a word does not count because nothing proves who said it, and the program asks for that.
    pub fn is_ignored(&self, word: &SignoffFact) -> bool {
        !word.verified && verified_only(self.program)
    }

    /// Whether a word has not run out; asks to be called again when it will.
    pub fn still_counts(&mut self, word: &SignoffFact) -> bool {
        let Some(until) = word.spec.until else { return true };
        let until = self.resolve(until, Edge::End);
        self.look_again(until);
        self.now < until
    }

    /// The words of one sort about a check of a gate, that have not run out.
    pub fn words_about_check(&mut self, says: Says, gate: &str, check: &str) -> Vec<&'a SignoffFact> {
        let words = self.words(|spec| spec.is_about(says, gate, check));
        words.into_iter().filter(|word| self.still_counts(word)).collect()
    }

    /// The live verdict of a gate.
    pub fn verdict(&self, gate: &str) -> Verdict {
        self.verdicts.get(gate).map_or(Verdict::Pending, |verdict| verdict.verdict)
    }

    /// Whether a rollback of this program is in force.
    pub fn run_in_force(&self) -> Option<&str> {
        self.memory.runs.iter().find(|(_, run)| run.in_force()).map(|(id, _)| id.as_str())
    }
}

/// The person who authored a revision, by the address in its commit.
fn person_of(program: &ProgramDesired, revision: &Revision) -> Option<String> {
    let author = revision.author.as_ref()?;
    let known = |person: &Person| person.git.iter().any(|address| address.eq_ignore_ascii_case(author));
    program.program.spec.people.iter().find(|(_, person)| known(person)).map(|(name, _)| name.clone())
}

fn monday_of(at: &Zoned) -> Date {
    let date = at.date();
    let since_monday = i64::from(date.weekday().to_monday_zero_offset());
    date.checked_sub(jiff::Span::new().days(since_monday)).unwrap_or(date)
}

/// Whether only words count of which it is known who said them.
fn verified_only(program: &ProgramDesired) -> bool {
    program.program.spec.signoffs.as_ref().is_some_and(|rules| rules.verified == Verified::Required)
}

/// Why it is, or is not, known who said a word.
pub(super) fn proof(word: &SignoffFact) -> &str {
    if word.proof.is_empty() { "nobody has looked yet who said it" } else { &word.proof }
}

/// The words that count of those that `wanted` picks: each person's latest, if it is known who said it where the program asks for that.
pub(super) fn latest_words<'a>(
    program: &ProgramDesired,
    words: &'a [SignoffFact],
    now: Timestamp,
    wanted: impl Fn(&SignoffSpec) -> bool,
) -> Vec<&'a SignoffFact> {
    let verified_only = verified_only(program);
    let mut latest: BTreeMap<&str, &SignoffFact> = BTreeMap::new();
    for word in words {
        if !wanted(&word.spec) || (verified_only && !word.verified) || word.first_seen > now {
            continue;
        }
        let held = latest.entry(&word.spec.by).or_insert(word);
        if (word.first_seen, &word.name) > (held.first_seen, &held.name) {
            *held = word;
        }
    }
    latest.into_values().collect()
}
