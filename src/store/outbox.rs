//! The outbox's table: what is to leave the house is written first, claimed for a while, and receipted.
//!
//! Must not know: how anything is sent, or why.
//!
//! States: `waiting` → `claimed` → `done`, or back to `waiting` to be tried again, or `failed` for good. A claim that is
//! not receipted before its lease ends is claimed again, unless the message must not go out twice (`once`): nobody
//! knows whether it left, so it is `uncertain` and waits for a person. `cancelled` was withdrawn before it left.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use uuid::Uuid;

use super::states::words;
use super::{Row, Store, StoreError, Tx, freezes};
use crate::args;

words! {
    /// Where a message stands.
    pub enum State {
        /// To be sent when its time comes.
        Waiting = "waiting",
        /// In somebody's hands.
        Claimed = "claimed",
        /// Sent, with a receipt.
        Done = "done",
        /// Given up.
        Failed = "failed",
        /// Perhaps sent; not tried again by itself.
        Uncertain = "uncertain",
        /// Withdrawn before it left.
        Cancelled = "cancelled",
    }
}

/// Something that is to leave.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// The program it belongs to.
    pub program: String,
    /// The cohort whose freeze stops it; none when no freeze does.
    pub cohort: Option<String>,
    /// What it is (`invite`, `mail`, `webhook`); claims ask for kinds.
    pub kind: String,
    /// What makes it one effect: the same key is the same effect, put only once (`run/step/recipient`).
    pub effect_key: String,
    /// What the sender needs.
    pub payload: Value,
    /// Whether it must not go out a second time when nobody knows whether it did.
    pub once: bool,
    /// Not before this instant.
    pub not_before: Timestamp,
    /// When it should have left.
    pub deadline: Option<Timestamp>,
    /// The epoch of the controller that wants it, for kinds that only the controller may cause.
    pub epoch: Option<i64>,
}

/// A message as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Its id.
    pub id: Uuid,
    /// What was put.
    pub intent: Intent,
    /// Where it stands.
    pub state: State,
    /// How often it has been tried, or is being tried.
    pub attempts: i64,
    /// When it was put.
    pub created_at: Timestamp,
    /// Who claimed it last.
    pub claimed_by: Option<String>,
    /// When it was done, given up or withdrawn.
    pub done_at: Option<Timestamp>,
    /// What the other side said.
    pub receipt: Option<Value>,
    /// Why the last try failed.
    pub last_error: Option<String>,
}

/// What a sender asks for in [`claim`].
#[derive(Clone, Debug)]
pub struct Claim<'a> {
    /// Only these kinds.
    pub kinds: &'a [&'a str],
    /// Who asks.
    pub by: &'a str,
    /// At most so many.
    pub limit: i64,
    /// How long the claim holds.
    pub lease: SignedDuration,
}

/// Puts an intent, and gives its id and whether it is new; an effect key that is known already changes nothing.
pub async fn put(tx: &mut Tx, intent: &Intent, now: Timestamp) -> Result<(Uuid, bool), StoreError> {
    let Intent { program, cohort, kind, effect_key, payload, once, not_before, deadline, epoch } = intent;
    let insert = "INSERT INTO outbox (id, program, cohort, kind, effect_key, payload, once, state, next_at,
            created_at, deadline, epoch)
        VALUES ($1, $2, $3, $4, $5, $6, $7, 'waiting', $8, $9, $10, $11) ON CONFLICT (effect_key) DO NOTHING";
    let id = Uuid::now_v7();
    let bound = args![id, program, cohort, kind, effect_key, payload, *once, *not_before, now, *deadline, *epoch];
    if tx.execute(insert, bound).await? > 0 {
        return Ok((id, true));
    }
    let known = tx.one("SELECT id FROM outbox WHERE effect_key = $1", args![effect_key]).await?;
    Ok((known.get("id")?, false))
}

/// Claims what is due, oldest first, skipping what others hold and what a freeze stops. Commit before sending. Claims
/// whose lease has ended are claimed again or become `uncertain` (see the head of this module).
pub async fn claim(tx: &mut Tx, claim: &Claim<'_>, now: Timestamp) -> Result<Vec<Message>, StoreError> {
    let due = tx.dialect().any("kind", "$1");
    let lapsed = format!(
        "UPDATE outbox SET state = 'uncertain', last_error = 'the sender vanished before it had a receipt'
         WHERE state = 'claimed' AND once AND lease_until <= $2 AND {due}"
    );
    tx.execute(&lapsed, args![claim.kinds, now]).await?;
    let programs = format!(
        "SELECT DISTINCT program FROM outbox WHERE cohort IS NOT NULL AND state IN ('waiting', 'claimed')
         AND next_at <= $2 AND {due} ORDER BY program"
    );
    let programs = tx.all(&programs, args![claim.kinds, now]).await?;
    let programs: Vec<String> = programs.iter().map(|row| row.get("program")).collect::<Result<_, _>>()?;
    freezes::hold_still(tx, &programs).await?;
    let skip = tx.dialect().pick("FOR UPDATE OF o SKIP LOCKED", "");
    // The rows are chosen once, in a CTE: a subquery of IN may be run again and then locks more than its limit.
    let locked = tx.dialect().any("o.program", "$6");
    let take = format!(
        "WITH due AS MATERIALIZED (
            SELECT o.id FROM outbox o
            WHERE {due} AND o.next_at <= $2
              AND (o.state = 'waiting' OR (o.state = 'claimed' AND o.lease_until <= $2))
              AND (o.cohort IS NULL OR ({locked} AND NOT EXISTS (
                SELECT 1 FROM freezes f WHERE f.program = o.program AND (f.cohort = '' OR f.cohort = o.cohort))))
            ORDER BY o.next_at, o.id LIMIT $5 {skip})
         UPDATE outbox SET state = 'claimed', attempts = attempts + 1, claimed_at = $2, claimed_by = $3,
            lease_until = $4
         WHERE id IN (SELECT id FROM due) RETURNING *"
    );
    let lease_until = after(now, claim.lease)?;
    let rows = tx.all(&take, args![claim.kinds, now, claim.by, lease_until, claim.limit, programs]).await?;
    let mut claimed: Vec<Message> = rows.iter().map(message).collect::<Result<_, _>>()?;
    claimed.sort_by_key(|message| (message.intent.not_before, message.id));
    Ok(claimed)
}

/// Takes over the claims on kinds that only the leader sends, as its successor: it has ended, and must not be waited for until its lease has.
/// What must not go out twice becomes `uncertain`.
pub async fn take_over(tx: &mut Tx, kinds: &[&str]) -> Result<(), StoreError> {
    let any = tx.dialect().any("kind", "$1");
    let sql = format!(
        "UPDATE outbox SET lease_until = NULL, state = CASE WHEN once THEN 'uncertain' ELSE 'waiting' END,
            last_error = 'the sender vanished before it had a receipt'
         WHERE state = 'claimed' AND {any}"
    );
    tx.execute(&sql, args![kinds]).await?;
    Ok(())
}

/// Records that a message left, and what the other side said. Counts whoever says so: what has left has left.
///
/// # Errors
/// [`StoreError::Missing`] when there is no such message, or it is already done.
pub async fn succeed(tx: &mut Tx, id: Uuid, receipt: &Value, now: Timestamp) -> Result<(), StoreError> {
    let done = "UPDATE outbox SET state = 'done', receipt = $2, done_at = $3, lease_until = NULL, last_error = NULL
        WHERE id = $1 AND state <> 'done'";
    expect(tx.execute(done, args![id, receipt, now]).await?, id)
}

/// Records that a try failed. `again_at`: when it is tried again ([`backoff`](super::backoff) suggests); none gives up.
///
/// # Errors
/// [`StoreError::Missing`] when the message is not in the hands of `by`.
pub async fn fail(
    tx: &mut Tx,
    id: Uuid,
    by: &str,
    error: &str,
    again_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let touched = match again_at {
        Some(at) => {
            let again = "UPDATE outbox SET state = 'waiting', next_at = $4, last_error = $3, lease_until = NULL
                WHERE id = $1 AND state = 'claimed' AND claimed_by = $2";
            tx.execute(again, args![id, by, error, at]).await?
        }
        None => {
            let never = "UPDATE outbox SET state = 'failed', done_at = $4, last_error = $3, lease_until = NULL
                WHERE id = $1 AND state = 'claimed' AND claimed_by = $2";
            tx.execute(never, args![id, by, error, now]).await?
        }
    };
    expect(touched, id)
}

/// Puts a claimed message back until then: nothing was tried, so nothing is counted.
///
/// # Errors
/// [`StoreError::Missing`] when the message is not in the hands of `by`.
pub async fn postpone(tx: &mut Tx, id: Uuid, by: &str, why: &str, until: Timestamp) -> Result<(), StoreError> {
    let back = "UPDATE outbox SET state = 'waiting', next_at = $4, last_error = $3, lease_until = NULL, attempts = attempts - 1
        WHERE id = $1 AND state = 'claimed' AND claimed_by = $2";
    expect(tx.execute(back, args![id, by, why, until]).await?, id)
}

/// Records that nobody knows whether a message left (the connection broke after the content had gone).
pub async fn doubt(tx: &mut Tx, id: Uuid, error: &str) -> Result<(), StoreError> {
    let doubt = "UPDATE outbox SET state = 'uncertain', last_error = $2, lease_until = NULL
        WHERE id = $1 AND state = 'claimed'";
    expect(tx.execute(doubt, args![id, error]).await?, id)
}

/// Puts an uncertain or failed message back in line, on a person's word.
pub async fn retry(tx: &mut Tx, id: Uuid, now: Timestamp) -> Result<(), StoreError> {
    let again = "UPDATE outbox SET state = 'waiting', next_at = $2, done_at = NULL
        WHERE id = $1 AND state IN ('uncertain', 'failed')";
    expect(tx.execute(again, args![id, now]).await?, id)
}

/// Withdraws a message that has not left; says whether it could.
pub async fn cancel(tx: &mut Tx, effect_key: &str, now: Timestamp) -> Result<bool, StoreError> {
    let cancel = "UPDATE outbox SET state = 'cancelled', done_at = $2 WHERE effect_key = $1 AND state = 'waiting'";
    Ok(tx.execute(cancel, args![effect_key, now]).await? > 0)
}

/// The message of an effect.
pub async fn by_key(store: &Store, effect_key: &str) -> Result<Option<Message>, StoreError> {
    let one = "SELECT * FROM outbox WHERE effect_key = $1";
    store.opt(one, args![effect_key]).await?.as_ref().map(message).transpose()
}

/// The messages of a program in these states (all when none is named), newest first.
pub async fn list(store: &Store, program: &str, states: &[State], limit: i64) -> Result<Vec<Message>, StoreError> {
    let words: Vec<&str> = if states.is_empty() { State::ALL } else { states }.iter().map(|s| s.as_str()).collect();
    let any = store.dialect().any("state", "$2");
    let sql = format!("SELECT * FROM outbox WHERE program = $1 AND {any} ORDER BY created_at DESC, id DESC LIMIT $3");
    store.all(&sql, args![program, words.as_slice(), limit]).await?.iter().map(message).collect()
}

/// The messages whose effect key begins with `prefix` (a run's, a step's), oldest first.
pub async fn by_prefix(store: &Store, prefix: &str) -> Result<Vec<Message>, StoreError> {
    // A range of the index over the keys as bytes; none is greater than the last character of all.
    let key = store.dialect().pick("effect_key COLLATE \"C\"", "effect_key");
    let sql = format!("SELECT * FROM outbox WHERE {key} >= $1 AND {key} < $2 ORDER BY created_at, id");
    store.all(&sql, args![prefix, format!("{prefix}{}", char::MAX)]).await?.iter().map(message).collect()
}

/// A program's messages of a kind that were put between two moments.
pub async fn of_kind(
    store: &Store,
    program: &str,
    kind: &str,
    (from, until): (Timestamp, Timestamp),
) -> Result<Vec<Message>, StoreError> {
    let sql = "SELECT * FROM outbox WHERE program = $1 AND kind = $2 AND created_at >= $3 AND created_at <= $4 ORDER BY created_at, id";
    store.all(sql, args![program, kind, from, until]).await?.iter().map(message).collect()
}

/// How many messages of each kind are in each state.
pub async fn counts(store: &Store, program: &str) -> Result<Vec<(String, State, i64)>, StoreError> {
    let sql = "SELECT kind, state, count(*) AS n FROM outbox WHERE program = $1 GROUP BY kind, state ORDER BY 1, 2";
    let rows = store.all(sql, args![program]).await?;
    rows.iter().map(|row| Ok((row.get("kind")?, state(row)?, row.get("n")?))).collect()
}

/// When the next message of these kinds can be claimed, if any waits or a claim may lapse.
pub async fn next_at(store: &Store, kinds: &[&str]) -> Result<Option<Timestamp>, StoreError> {
    let any = store.dialect().any("kind", "$1");
    let sql = format!(
        "SELECT min(CASE state WHEN 'waiting' THEN next_at ELSE lease_until END) AS at FROM outbox
         WHERE state IN ('waiting', 'claimed') AND {any}"
    );
    store.one(&sql, args![kinds]).await?.get("at")
}

pub(super) fn after(now: Timestamp, by: SignedDuration) -> Result<Timestamp, StoreError> {
    now.checked_add(by).map_err(|_| StoreError::Invalid("a lease beyond the end of time".into()))
}

fn expect(touched: u64, id: Uuid) -> Result<(), StoreError> {
    if touched == 1 { Ok(()) } else { Err(StoreError::Missing(format!("no message {id} in that state"))) }
}

fn state(row: &Row) -> Result<State, StoreError> {
    row.get::<String>("state")?.parse()
}

fn message(row: &Row) -> Result<Message, StoreError> {
    Ok(Message {
        id: row.get("id")?,
        intent: Intent {
            program: row.get("program")?,
            cohort: row.get("cohort")?,
            kind: row.get("kind")?,
            effect_key: row.get("effect_key")?,
            payload: row.get("payload")?,
            once: row.get("once")?,
            not_before: row.get("next_at")?,
            deadline: row.get("deadline")?,
            epoch: row.get("epoch")?,
        },
        state: state(row)?,
        attempts: row.get("attempts")?,
        created_at: row.get("created_at")?,
        claimed_by: row.get("claimed_by")?,
        done_at: row.get("done_at")?,
        receipt: row.get("receipt")?,
        last_error: row.get("last_error")?,
    })
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
