//! Decides, for one workload, which process to start, replace, stop or give up now. Pure: time comes in, actions go out.
//!
//! A workload has as many *slots* as replicas. Each slot counts its own failures and waits its own backoff; a replacement runs in the
//! slot of the process it replaces, until it is ready and the old one goes. One slot rolls at a time.
//!
//! Must not know: how a process is started or ended.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::backoff;
use super::output::Tail;
use super::spec::ProcessSpec;

/// How long a process may take to get ready before it is given up and counted as a failure.
pub(super) const START_DEADLINE: Duration = Duration::from_secs(60);
/// From so many failures in a row on, it is called a crash loop.
const CRASH_LOOP: u32 = 3;
/// How many earlier revisions of a workload are remembered.
pub(super) const KEPT_REVISIONS: usize = 10;

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code, when it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// When it was noticed.
    pub at: Timestamp,
    /// Whether it had been asked to end.
    pub wanted: bool,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(signal)) => write!(f, "signal {signal}"),
            (None, None) => write!(f, "could not be started"),
        }
    }
}

/// The state of a process, or of a slot that has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessState {
    /// Started, not ready yet.
    Starting,
    /// Ready.
    Ready,
    /// Ended, and waiting before it is started again.
    Backoff,
    /// Asked to end.
    Stopping,
    /// Ended; about to be started.
    Exited,
}

/// What is observed of one process (or of a replica that has none at the moment).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessStatus {
    /// The workload's name.
    pub workload: String,
    /// Which of its replicas, from 0.
    pub replica: u32,
    /// The revision it runs (or is to run).
    pub revision: String,
    /// The process id, of the process itself and not of its shim.
    pub pid: Option<i32>,
    /// Its own port, when it has one.
    pub port: Option<u16>,
    /// Its state.
    pub state: ProcessState,
    /// Since when it is in that state.
    pub since: Timestamp,
    /// When it will be started again, in backoff.
    pub retry_at: Option<Timestamp>,
    /// How often this replica ended without being asked to.
    pub restarts: u64,
    /// Whether it has failed three times in a row or more without staying up.
    pub crash_loop: bool,
    /// How the last process of this replica ended.
    pub last_exit: Option<Exit>,
    /// The last lines of its output (of the last process of this replica, when none runs).
    pub output: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    Ready,
    /// `failed`: it was given up, which counts as a failure.
    Stopping {
        asked_at: Timestamp,
        killed: bool,
        failed: bool,
    },
}

/// One process.
#[derive(Debug)]
pub(super) struct Instance {
    pub id: u64,
    pub slot: u32,
    pub spec: Arc<ProcessSpec>,
    pub phase: Phase,
    pub since: Timestamp,
    pub pid: Option<i32>,
    pub port: Option<u16>,
    /// To be replaced though its revision is the wanted one: a restart was asked for.
    pub stale: bool,
    pub output: Tail,
}

impl Instance {
    fn stopping(&self) -> bool {
        matches!(self.phase, Phase::Stopping { .. })
    }

    pub(super) fn enter(&mut self, phase: Phase, now: Timestamp) {
        self.phase = phase;
        self.since = now;
    }
}

/// What is remembered of a replica between its processes.
#[derive(Debug, Default)]
pub(super) struct Slot {
    failures: u32,
    retry_at: Option<Timestamp>,
    restarts: u64,
    last_exit: Option<Exit>,
    output: Tail,
    /// A process of an earlier revision ended by itself since the last attempt with the wanted one.
    stand_in_ended: bool,
}

/// One workload: what is wanted, and what there is.
#[derive(Debug, Default)]
pub(super) struct Workload {
    /// `None`: everything of it is to go.
    pub spec: Option<Arc<ProcessSpec>>,
    pub instances: Vec<Instance>,
    pub slots: BTreeMap<u32, Slot>,
    /// Earlier specs of other revisions, oldest first.
    pub history: Vec<Arc<ProcessSpec>>,
    /// The last spec that was seen to stay up: what stands in while the wanted one crashes again and again.
    pub proven: Option<Arc<ProcessSpec>>,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Start a process of the wanted spec.
    Start { slot: u32 },
    /// Start a process of the proven spec, until one of the wanted spec stays up.
    StandIn { slot: u32 },
    /// Ask a process to end.
    Terminate { id: u64 },
    /// End a process whose grace is over.
    Kill { id: u64 },
    /// End a process that did not get ready in time.
    GiveUp { id: u64 },
}

impl Workload {
    /// Wants `spec` from now on; the one before is remembered when it was another revision.
    pub(super) fn want(&mut self, spec: Option<Arc<ProcessSpec>>) {
        let revision = |spec: &Option<Arc<ProcessSpec>>| spec.as_ref().map(|s| s.revision.clone());
        if revision(&self.spec) != revision(&spec) {
            if let Some(before) = self.spec.take() {
                self.history.retain(|kept| kept.revision != before.revision);
                self.history.push(before);
                let excess = self.history.len().saturating_sub(KEPT_REVISIONS);
                self.history.drain(..excess);
            }
            // The failures of one revision say nothing about the next.
            for slot in self.slots.values_mut() {
                slot.failures = 0;
                slot.retry_at = None;
                slot.stand_in_ended = false;
            }
        }
        self.spec = spec;
    }

    /// Takes note of what has stayed up long enough.
    pub(super) fn note_proven(&mut self, now: Timestamp) {
        let stable =
            self.instances.iter().filter(|i| i.phase == Phase::Ready && now >= later(i.since, backoff::STABLE));
        // The wanted one, when it is among them.
        if let Some(instance) = stable.max_by_key(|i| self.fresh(i)) {
            self.proven = Some(Arc::clone(&instance.spec));
        }
    }

    /// What to run in a slot while the wanted spec crashes again and again: none where both would need the same port.
    pub(super) fn stand_in(&self, slot: u32) -> Option<&Arc<ProcessSpec>> {
        let (wanted, proven) = (self.spec.as_ref()?, self.proven.as_ref()?);
        let known = self.slots.get(&slot)?;
        let needed = known.failures >= CRASH_LOOP && !known.stand_in_ended && wanted.revision != proven.revision;
        (needed && wanted.can_overlap() && proven.can_overlap()).then_some(proven)
    }

    /// Wants new processes (of one replica, or of all), at once also where one is waiting to be started.
    pub(super) fn restart(&mut self, replica: Option<u32>) {
        let asked = |slot: u32| replica.is_none_or(|wanted| wanted == slot);
        self.instances.iter_mut().filter(|i| asked(i.slot)).for_each(|instance| instance.stale = true);
        self.slots.iter_mut().filter(|(slot, _)| asked(**slot)).for_each(|(_, slot)| slot.retry_at = None);
    }

    /// The wanted replicas; 0 when all is to go.
    fn wanted(&self) -> u32 {
        self.spec.as_ref().map_or(0, |spec| spec.replicas)
    }

    fn fresh(&self, instance: &Instance) -> bool {
        !instance.stale && self.spec.as_ref().is_some_and(|spec| spec.revision == instance.spec.revision)
    }

    /// What to do now. Asking again after doing it gives nothing new until something happens.
    pub(super) fn next(&self, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        for instance in &self.instances {
            let overdue = |since: Timestamp, after: Duration| now >= later(since, after);
            match instance.phase {
                Phase::Stopping { asked_at, killed: false, .. } if overdue(asked_at, instance.spec.stop_grace) => {
                    actions.push(Action::Kill { id: instance.id });
                }
                Phase::Stopping { .. } => {}
                _ if instance.slot >= self.wanted() => actions.push(Action::Terminate { id: instance.id }),
                Phase::Starting if overdue(instance.since, START_DEADLINE) => {
                    actions.push(Action::GiveUp { id: instance.id });
                }
                _ => {}
            }
        }
        let mut rolling = (0..self.wanted()).any(|slot| self.rolling(slot));
        for slot in 0..self.wanted() {
            actions.extend(self.next_of_slot(slot, now, &mut rolling));
        }
        actions
    }

    /// Whether a replacement is getting ready beside the process it replaces.
    fn rolling(&self, slot: u32) -> bool {
        let (fresh, old): (Vec<_>, Vec<_>) = self.running(slot).partition(|i| self.fresh(i));
        !old.is_empty() && fresh.iter().any(|i| i.phase == Phase::Starting)
    }

    fn running(&self, slot: u32) -> impl Iterator<Item = &Instance> {
        self.instances.iter().filter(move |i| i.slot == slot && !i.stopping())
    }

    fn next_of_slot(&self, slot: u32, now: Timestamp, rolling: &mut bool) -> Vec<Action> {
        let (fresh, old): (Vec<_>, Vec<_>) = self.running(slot).partition(|i| self.fresh(i));
        let end_old = || old.iter().map(|i| Action::Terminate { id: i.id }).collect();
        if fresh.iter().any(|i| i.phase == Phase::Ready) {
            return end_old();
        }
        let waits = self.slots.get(&slot).and_then(|s| s.retry_at).is_some_and(|at| now < at);
        if !fresh.is_empty() || waits {
            let alone = fresh.is_empty() && old.is_empty() && self.stand_in(slot).is_some();
            return if alone { vec![Action::StandIn { slot }] } else { Vec::new() };
        }
        if !self.spec.as_ref().is_some_and(|spec| spec.can_overlap()) {
            // One port for all of the slot's processes: the old one must be gone first.
            let occupied = self.instances.iter().any(|i| i.slot == slot);
            return if occupied { end_old() } else { vec![Action::Start { slot }] };
        }
        if !old.is_empty() {
            if *rolling {
                return Vec::new();
            }
            *rolling = true;
        }
        vec![Action::Start { slot }]
    }

    /// When [`Workload::next`] can give something new though nothing happens.
    pub(super) fn look_again_at(&self) -> Option<Timestamp> {
        let of_instances = self.instances.iter().filter_map(|i| match i.phase {
            Phase::Starting => Some(later(i.since, START_DEADLINE)),
            Phase::Stopping { asked_at, killed: false, .. } => Some(later(asked_at, i.spec.stop_grace)),
            _ => None,
        });
        let vacant = |slot: &&u32| !self.running(**slot).any(|i| self.fresh(i));
        let of_slots = self.slots.iter().filter(|(slot, _)| vacant(slot)).filter_map(|(_, s)| s.retry_at);
        of_instances.chain(of_slots).min()
    }

    /// Takes in that a process has ended: an unwanted end counts against its replica, and makes it wait.
    pub(super) fn ended(&mut self, id: u64, code: Option<i32>, signal: Option<i32>, now: Timestamp, jitter: f64) {
        let Some(at) = self.instances.iter().position(|i| i.id == id) else { return };
        let instance = self.instances.swap_remove(at);
        let fresh = self.fresh(&instance);
        let wanted = matches!(instance.phase, Phase::Stopping { failed: false, .. });
        let stable = instance.phase == Phase::Ready && now >= later(instance.since, backoff::STABLE);
        let slot = self.slots.entry(instance.slot).or_default();
        slot.last_exit = Some(Exit { code, signal, at: now, wanted });
        slot.output = instance.output;
        if stable {
            self.proven = Some(instance.spec);
        }
        if wanted {
            return;
        }
        slot.restarts += 1;
        // One stand-in at most for each attempt: it must not crash in a loop of its own.
        slot.stand_in_ended = !fresh;
        if fresh {
            slot.failures = if stable { 1 } else { slot.failures.saturating_add(1) };
            slot.retry_at = Some(later(now, backoff::delay(slot.failures, jitter)));
        }
    }

    /// What is observed, by replica; a replaced process stands beside its replacement.
    pub(super) fn statuses(&self, now: Timestamp) -> Vec<ProcessStatus> {
        let nothing = Slot::default();
        let mut all: Vec<ProcessStatus> = Vec::new();
        for instance in &self.instances {
            let state = match instance.phase {
                Phase::Starting => ProcessState::Starting,
                Phase::Ready => ProcessState::Ready,
                Phase::Stopping { .. } => ProcessState::Stopping,
            };
            let slot = self.slots.get(&instance.slot).unwrap_or(&nothing);
            all.push(ProcessStatus {
                pid: instance.pid,
                port: instance.port,
                retry_at: None,
                output: instance.output.lines(),
                ..slot.status(instance.slot, &instance.spec, state, instance.since)
            });
        }
        if let Some(spec) = &self.spec {
            let vacant = (0..spec.replicas).filter(|slot| self.running(*slot).next().is_none());
            for (number, slot) in vacant.filter_map(|slot| Some((slot, self.slots.get(&slot)?))) {
                let waiting = slot.retry_at.is_some_and(|at| at > now);
                let state = if waiting { ProcessState::Backoff } else { ProcessState::Exited };
                let since = slot.last_exit.as_ref().map_or(now, |exit| exit.at);
                all.push(slot.status(number, spec, state, since));
            }
        }
        all.sort_by_key(|status| (status.replica, status.since));
        all
    }
}

impl Slot {
    fn status(&self, replica: u32, spec: &ProcessSpec, state: ProcessState, since: Timestamp) -> ProcessStatus {
        ProcessStatus {
            workload: spec.workload.clone(),
            replica,
            revision: spec.revision.clone(),
            pid: None,
            port: None,
            state,
            since,
            retry_at: self.retry_at,
            restarts: self.restarts,
            crash_loop: self.failures >= CRASH_LOOP,
            last_exit: self.last_exit.clone(),
            output: self.output.lines(),
        }
    }
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| at.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[path = "roll_tests.rs"]
mod tests;
