//! What would have happened: the same `decide` over a history of readings, incidents and words, on a virtual clock.
//!
//! The world around it carries out every decision at once: API processes serve what they should, messages arrive, always-online routes answer. What a history
//! does not tell is unknown, unless it is assumed ([`Assume`]).
//!
//! Must not know: files, how a history was written down, the system's time.

mod board;
mod rehearse;
mod steps;
#[cfg(test)]
mod tests;
mod world;

pub use board::{BoardError, Recorded, board};
pub use rehearse::{RehearsedStep, rehearse};

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::decide::{
    CheckRef, Decision, IncidentFact, MessageKind, ObjectState, Outcome, SealedReview, Verdict, decide,
};
use crate::desired::{ProgramDesired, Revision};
use crate::resources::SignoffSpec;
#[cfg(test)]
pub(crate) use steps::follow_steps;
use world::World;

/// One simulation decides at most so often, so that it ends.
const MOST_PASSES: u64 = 2_000_000;
/// The world has come to rest long before so many passes at one instant.
const MOST_AT_ONCE: u32 = 500;

/// Something that a history tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// A check reads so from now on.
    Measured(CheckRef, Outcome),
    /// An incident as it is known from now on; one of the same name replaces it.
    Incident(IncidentFact),
    /// A person's word.
    Said {
        /// Its name.
        name: String,
        /// What it says.
        spec: Box<SignoffSpec>,
    },
}

/// A happening and its moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: Happening,
}

/// What is taken for granted where a history says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Assume {
    /// Everybody who may sign a checklist's item or say GO has done so.
    pub signed: bool,
    /// Measured checks that the history never mentions meet their thresholds.
    pub met: bool,
    /// How long a cause document takes to be complete; never, when none.
    pub cause_within: Option<SignedDuration>,
}

/// From when to when, and under which assumptions.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// When the controller first sees the program.
    pub from: Timestamp,
    /// The last instant.
    pub until: Timestamp,
    /// What is taken for granted.
    pub assume: Assume,
}

/// Something that would have happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Line {
    /// When.
    pub at: Timestamp,
    /// `Kind/name`.
    pub object: String,
    /// A word for programs, such as `StageOpened`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

/// A history played to its end.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Simulation {
    /// Everything that would have happened, in order.
    pub timeline: Vec<Line>,
    /// The reviews, sealed or held.
    pub reviews: Vec<SealedReview>,
    /// How each object stands at the end, by `Kind/name`.
    pub states: BTreeMap<String, ObjectState>,
    /// How often it was decided.
    pub passes: u64,
}

/// A simulation that does not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimulateError {
    /// At one instant the world never came to rest.
    #[error("at {0} the program never comes to rest")]
    Restless(Timestamp),
    /// It takes too many decisions.
    #[error("it takes more than {MOST_PASSES} decisions; by {0} it was not at its end")]
    TooLong(Timestamp),
}

/// Plays a history. Entries may come in any order; those before `from` are known at its start.
///
/// # Errors
/// [`SimulateError`], terminal: the same history never ends.
pub fn simulate(
    program: &ProgramDesired,
    revision: &Revision,
    mut history: Vec<Entry>,
    setting: Setting,
) -> Result<Simulation, SimulateError> {
    history.extend(world::declared(program, setting.from));
    history.sort_by_key(|entry| entry.at);
    let mut world = World::new(program, &history, setting);
    let mut played = Simulation::default();
    let mut history = history.into_iter().peekable();
    let mut now = setting.from;
    loop {
        while let Some(entry) = history.next_if(|entry| entry.at <= now) {
            world.take(entry);
        }
        let decision = settle(&mut world, revision, now, &mut played)?;
        let next = [history.peek().map(|entry| entry.at), decision.look_again_at, world.next_change(now)];
        played.states = decision.states;
        match next.into_iter().flatten().min() {
            Some(next) if next <= setting.until => now = next,
            _ => return Ok(played),
        }
        if played.passes > MOST_PASSES {
            return Err(SimulateError::TooLong(now));
        }
    }
}

/// Decides until nothing changes any more, the world following each decision.
fn settle(
    world: &mut World<'_>,
    revision: &Revision,
    now: Timestamp,
    played: &mut Simulation,
) -> Result<Decision, SimulateError> {
    world.move_to(now);
    for _ in 0..MOST_AT_ONCE {
        let decision = decide(world.program, revision, &world.readings, &world.memory, now);
        played.passes += 1;
        record(&decision, &mut world.verdicts, now, played);
        let rests = decision.memory == world.memory && decision.messages.is_empty();
        if !world.follow(&decision, now) && rests {
            return Ok(decision);
        }
    }
    Err(SimulateError::Restless(now))
}

/// Writes down what a decision brings.
fn record(decision: &Decision, verdicts: &mut BTreeMap<String, Verdict>, now: Timestamp, played: &mut Simulation) {
    let mut line = |object: String, reason: &str, message: String| {
        played.timeline.push(Line { at: now, object, reason: reason.to_owned(), message });
    };
    for (gate, verdict) in &decision.verdicts {
        let had = verdicts.insert(gate.clone(), verdict.verdict);
        if had.is_some_and(|had| had != verdict.verdict) {
            let had = had.unwrap_or_default();
            line(format!("Gate/{gate}"), "VerdictChanged", format!("{had} → {}: {}", verdict.verdict, verdict.reason));
        }
    }
    for event in &decision.events {
        line(event.object.clone(), &event.reason, event.message.clone());
    }
    for message in &decision.messages {
        let (reason, said) = match &message.what {
            MessageKind::Note { channel, template, .. } => {
                ("NoteSent", format!("to {channel}, from template {template}"))
            }
            MessageKind::Page { person, text } => ("Paged", format!("{person}: {text}")),
            MessageKind::Document { run, owner, .. } => ("DocumentWritten", format!("the cause of {run}, for {owner}")),
            MessageKind::Proposal { branch, .. } => ("Proposed", format!("on branch {branch}")),
            MessageKind::Pull { branch, .. } => ("PullRequestOpened", format!("for branch {branch}")),
            MessageKind::Tag { name, revision, .. } => ("TagMade", format!("{name} on {revision}")),
            MessageKind::Minutes { call, .. } => ("MinutesWritten", format!("of the call about {call}")),
            MessageKind::Job { holder, job } => ("JobRun", format!("{holder}: {}", job.command.join(" "))),
            MessageKind::Call { holder, call, .. } => {
                let whom = call.source.as_ref().or(call.channel.as_ref()).cloned().unwrap_or_default();
                ("Called", format!("{holder}: {whom}{}", call.path.as_deref().unwrap_or_default()))
            }
        };
        line(format!("Message/{}", message.effect_key), reason, said);
    }
    played.reviews.extend(decision.sealed.iter().cloned());
}
