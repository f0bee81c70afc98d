//! What leaves: notes and documents of the outbox, and the invites of open cohorts, each in a task of its own beside the controller's passes, so
//! that a protection never waits behind mail. A pass that waits for everything ([`pass`](super::Controller::pass)) does the same within itself.
//!
//! | module | what it knows |
//! |---|---|
//! | `notes` | the outbox: notes, pages, documents |
//! | `jobs` | the outbox: commands and calls of rollback steps |
//! | `invites` | one program's invites: which is next, claimed, sent, settled |
//! | `review` | the dry run: messages as files, and a summary |
//! | `letters` | what an invite says |
//! | `proposals` | the outbox: branches, pull requests and tags that a run proposes |
//! | `samples` | a preview, a test to an operator |
//! | `orders` | what the senders are told after a pass |
//! | `pace` | how soon the next one may leave |
//!
//! A sender is given its orders (which cohorts are open, with which revision) after every pass. Must not know: why a cohort is open.

mod invites;
mod jobs;
mod letters;
mod notes;
mod orders;
mod pace;
mod proposals;
mod review;
mod samples;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use betagate_core::desired::ProgramDesired;
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::jobs::Workplace;
use super::{ControllerError, Faults, Settings};
use crate::clock::Clock;
use crate::keys::Keys;
use crate::outbox::{DeliveryError, Mailer};
use crate::secrets::secret_in;
use crate::source::Source;
use crate::store::{Store, StoreError};

use invites::Lane;
use orders::{Order, Orders};
/// What only the leading controller sends, and its successor takes over.
pub(super) const KINDS: [&[&str]; 4] = [NOTES.kinds, PAPERS.kinds, JOBS.kinds, PROPOSALS.kinds];
pub(super) use jobs::ordered;
pub use samples::{Sample, sample_letter};

/// How long a sender that has nothing to do sleeps at most: what becomes due by the clock it knows, and every pass rings, also one for what another
/// process wrote.
const LONGEST_SLEEP: Duration = Duration::from_secs(15);
/// The shortest such sleep: what is due and can't be taken is in somebody's hands.
const SHORTEST_SLEEP: Duration = Duration::from_millis(200);
/// A program's invites are looked for so often at most: a rollback's passes ring twenty times a second.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(1);
/// How long a message that is being handed over may take when the controller ends.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The shortest and longest wait of a sender whose round failed.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Messages that are sent together: their kinds, how many are claimed at once, and for how long.
pub(super) struct Batch {
    kinds: &'static [&'static str],
    limit: i64,
    lease: SignedDuration,
}

const NOTES: Batch = Batch { kinds: &["note", "page"], limit: 50, lease: notes::LEASE };
/// What is written on this machine waits for no server.
const PAPERS: Batch = Batch { kinds: &["document", "minutes"], limit: 50, lease: notes::LEASE };
const JOBS: Batch = Batch { kinds: &["job", "call"], limit: 1, lease: jobs::LEASE };
/// What is proposed or tagged protects nothing, so that no step waits for it.
const PROPOSALS: Batch = Batch { kinds: &["proposal", "pull", "tag"], limit: 1, lease: jobs::LEASE };
/// A sender each.
const BATCHES: [&Batch; 4] = [&PAPERS, &NOTES, &JOBS, &PROPOSALS];

/// What a round of a sender came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    /// Nothing was due; the next one is then.
    Nothing(Option<Timestamp>),
    /// What was due, or as many as it takes at once: there may be more.
    Some,
}

/// Wakes whoever listens, and is remembered by who was busy when it rang.
#[derive(Debug)]
struct Bell(watch::Sender<()>);

impl Default for Bell {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl Bell {
    fn ring(&self) {
        self.0.send_replace(());
    }

    /// A listener's own ear: `borrow_and_update` before it looks for work, `changed` to sleep.
    fn listen(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}

/// What senders work with.
pub(super) struct Post {
    store: Store,
    clock: Clock,
    keys: Arc<Keys>,
    data: PathBuf,
    holder: String,
    /// Where this server is reached, when nothing else is said.
    here: Option<String>,
    epoch: i64,
    /// Wakes the controller: a receipt is there.
    wake: Arc<Notify>,
    /// Where commands run.
    workplace: Arc<Workplace>,
    /// Where the documents live: what is proposed goes there.
    source: Arc<Source>,
    /// Where cause documents and minutes are kept: on a cluster in its namespace, wherever its resources come from.
    kept_in: Arc<Source>,
    /// The moments of this controller.
    faults: Arc<Faults>,
    /// Wakes the senders of notes and jobs: a pass has written some.
    due: Bell,
    orders: watch::Sender<Orders>,
    /// Whether senders are to end after the message in their hands.
    ending: watch::Sender<bool>,
    lanes: Mutex<BTreeMap<String, Arc<Mutex<Lane>>>>,
    /// The batches (by their first kind) whose last round failed: what it had claimed is in nobody's hands.
    dropped: std::sync::Mutex<BTreeSet<&'static str>>,
    /// Tests under way, by their intents.
    testing: Mutex<BTreeSet<Uuid>>,
}

impl Post {
    pub(super) fn new(
        settings: &Settings,
        epoch: i64,
        (wake, faults): (Arc<Notify>, Arc<Faults>),
        workplace: Arc<Workplace>,
    ) -> Arc<Self> {
        Arc::new(Self {
            workplace,
            faults,
            kept_in: settings.source.clone(),
            source: settings.git.as_ref().map_or_else(|| settings.source.clone(), |git| git.source.clone()),
            store: settings.store.clone(),
            clock: settings.clock.clone(),
            keys: settings.keys.clone(),
            data: settings.data.clone(),
            holder: settings.holder.clone(),
            here: settings.probe.clone(),
            epoch,
            wake,
            due: Bell::default(),
            orders: watch::Sender::new(Orders::new()),
            ending: watch::Sender::new(false),
            lanes: Mutex::default(),
            dropped: std::sync::Mutex::default(),
            testing: Mutex::default(),
        })
    }

    /// How a program's mail leaves, and what tells whether that has changed.
    fn way(&self, program: &ProgramDesired) -> Result<(Mailer, String), String> {
        let send = program.program.spec.mail.as_ref().is_some_and(|mail| mail.send);
        let send = send || std::env::var("SEND").is_ok_and(|send| send == "1");
        // A tour on a fast clock writes to nobody.
        if !send || self.clock.is_demo() {
            return Ok((Mailer::dry_run(&self.data), String::new()));
        }
        self.real_way(program)
    }

    /// How it leaves once sending is on.
    fn real_way(&self, program: &ProgramDesired) -> Result<(Mailer, String), String> {
        let data = &self.data;
        if self.clock.is_demo() {
            return Err("a tour on a fast clock writes to nobody".to_owned());
        }
        let mail = program.program.spec.mail.clone().unwrap_or_default();
        let command = mail.send_command.or_else(|| std::env::var("SEND_CMD").ok());
        let mailer = match (&mail.smtp_ref, command) {
            (Some(secret), _) => {
                let url = secret_in(data, secret)?;
                let authority = mail.ca_ref.as_ref().map(|secret| secret_in(data, secret)).transpose()?;
                let way =
                    [Some(&url), authority.as_ref()].map(|secret| secret.map_or("", |secret| secret.expose_secret()));
                Mailer::smtp(data, &url, authority.as_ref()).map(|mailer| (mailer, format!("smtp {}", way.join(" "))))
            }
            (None, Some(command)) => Mailer::command(data, &command).map(|mailer| (mailer, format!("pipe {command}"))),
            (None, None) => return Err("neither smtpRef nor sendCommand says how mail is sent".to_owned()),
        };
        mailer.map_err(|error| error.to_string())
    }

    async fn lane(&self, program: &str) -> Arc<Mutex<Lane>> {
        self.lanes.lock().await.entry(program.to_owned()).or_default().clone()
    }

    /// Wakes the senders: there may be something to send.
    pub(super) fn ring(&self) {
        self.due.ring();
    }

    fn is_ending(&self) -> bool {
        *self.ending.borrow()
    }

    /// Sleeps until the bell rings, the next is due, or for this long.
    async fn doze(&self, bell: &mut watch::Receiver<()>, next: Option<Timestamp>, longest: Duration) {
        tokio::select! {
            _ = bell.changed() => {}
            () = self.clock.sleep_until(next.unwrap_or(Timestamp::MAX)), if next.is_some() => {}
            () = tokio::time::sleep(longest) => {}
        }
    }

    /// One program's invites, until nothing may leave any more at this instant.
    async fn invite_all(&self, name: &str) -> Result<(), ControllerError> {
        let lane = self.lane(name).await;
        loop {
            let Some(order) = self.orders.borrow().get(name).cloned() else { return Ok(()) };
            let next = lane.lock().await.round(self, &order).await?;
            if next.is_none_or(|next| next > self.clock.now()) {
                return Ok(());
            }
        }
    }
}

/// Senders beside the controller's passes; they end when this is dropped.
pub(super) struct Senders {
    post: Arc<Post>,
    tasks: JoinSet<()>,
}

impl Senders {
    pub(super) fn start(post: Arc<Post>) -> Self {
        let mut tasks = JoinSet::new();
        for batch in BATCHES {
            tasks.spawn(send_messages(post.clone(), batch));
        }
        tasks.spawn(send_invites(post.clone()));
        Self { post, tasks }
    }

    /// Lets each finish the message in its hands, within a bound: then it is settled and not in doubt.
    pub(super) async fn end(mut self) {
        self.post.ending.send_replace(true);
        self.post.due.ring();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WORDS, all).await.is_err() {
            tracing::warn!("a message was still being handed over; it will be shown as uncertain");
        }
    }
}

async fn send_messages(post: Arc<Post>, batch: &'static Batch) {
    let mut failures = 0;
    let mut due = post.due.listen();
    loop {
        // First: a ring that comes after the look at the end is for the sleep.
        due.borrow_and_update();
        if post.is_ending() {
            return;
        }
        match post.deliver_messages(batch).await {
            Ok(Delivered::Some) => failures = 0,
            Ok(Delivered::Nothing(next)) => {
                failures = 0;
                if next.is_some_and(|at| at <= post.clock.now()) {
                    tokio::time::sleep(SHORTEST_SLEEP).await;
                } else {
                    post.doze(&mut due, next, LONGEST_SLEEP).await;
                }
            }
            Err(error) => match after_failure(&error, &mut failures) {
                Some(pause) => post.doze(&mut due, None, pause).await,
                None => return,
            },
        }
    }
}

/// Keeps one sender a program, so that a slow server holds up no other program.
async fn send_invites(post: Arc<Post>) {
    let (mut orders, mut ending) = (post.orders.subscribe(), post.ending.subscribe());
    let mut running: BTreeMap<String, tokio::task::AbortHandle> = BTreeMap::new();
    let mut lanes = JoinSet::new();
    while !post.is_ending() {
        let wanted: Vec<String> = orders.borrow_and_update().keys().cloned().collect();
        running.retain(|_, lane| !lane.is_finished());
        for name in wanted {
            running.entry(name.clone()).or_insert_with(|| lanes.spawn(send_program(post.clone(), name)));
        }
        tokio::select! {
            changed = orders.changed() => if changed.is_err() { break },
            _ = ending.changed() => break,
            Some(_) = lanes.join_next() => {}
        }
    }
    while lanes.join_next().await.is_some() {}
}

async fn send_program(post: Arc<Post>, name: String) {
    let (mut orders, mut ending) = (post.orders.subscribe(), post.ending.subscribe());
    let mut bell = post.due.listen();
    let lane = post.lane(&name).await;
    let mut failures = 0;
    while !post.is_ending() {
        bell.borrow_and_update();
        let Some(order) = orders.borrow_and_update().get(&name).cloned() else { return };
        let round = lane.lock().await.round(&post, &order).await;
        let (next, pause) = match round {
            Ok(next) => {
                failures = 0;
                (next, BETWEEN_ROUNDS)
            }
            Err(error) => match after_failure(&error, &mut failures) {
                Some(pause) => (None, pause),
                None => return,
            },
        };
        let rung = async {
            tokio::time::sleep(pause).await;
            // What has failed is tried again, whether anybody rings or not.
            if failures == 0 {
                post.doze(&mut bell, None, LONGEST_SLEEP).await;
            }
        };
        tokio::select! {
            changed = orders.changed(), if failures == 0 => if changed.is_err() { return },
            _ = ending.changed() => return,
            () = post.clock.sleep_until(next.unwrap_or(Timestamp::MAX)), if next.is_some() => {}
            () = rung => {}
        }
    }
}

/// How long to wait after a failed round; nothing when another controller has taken the lead.
fn after_failure(error: &ControllerError, failures: &mut u32) -> Option<Duration> {
    if matches!(error, ControllerError::Store(StoreError::Fenced { .. })) {
        return None;
    }
    tracing::warn!(error = %error, "sending failed; it is tried again");
    let pause = RETRY.0.saturating_mul(1 << (*failures).min(6)).min(RETRY.1);
    *failures = failures.saturating_add(1);
    Some(pause)
}

fn later(reason: String) -> DeliveryError {
    DeliveryError::Later { reason, after: None }
}

fn never(reason: String) -> DeliveryError {
    DeliveryError::Never { reason }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_bell_that_rings_while_nobody_sleeps_is_heard_by_everyone_once() {
        let bell = Bell::default();
        let (mut one, mut other) = (bell.listen(), bell.listen());
        one.borrow_and_update();
        bell.ring();
        bell.ring();
        assert!(one.changed().now_or_never().is_some());
        assert!(one.changed().now_or_never().is_none());
        assert!(other.changed().now_or_never().is_some());
    }
}
