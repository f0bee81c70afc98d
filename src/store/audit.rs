//! The audit log: entries written in the transaction they describe, linked into a hash chain in batches, verified whole.
//!
//! Must not know: what any action means. Entries name people by random ids only (product page, "Audit").
//!
//! Sequence order is not commit order on PostgreSQL, so the chain has an order of its own: `link`, given to entries as
//! they become visible. An entry that commits late gets a later link; none is ever passed over.

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Arg, Dialect, Row, Store, StoreError, Tx};
use crate::args;

#[cfg(test)]
mod tests;

/// Entries linked by one statement; five bound values each, well below both databases' limits.
const LINKED_AT_ONCE: i64 = 500;
/// Entries held in memory while verifying.
const READ_AT_ONCE: i64 = 2_000;

/// Something that was done, by whom, to what.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When it was done.
    pub at: Timestamp,
    /// The program it belongs to; empty when to none.
    pub program: String,
    /// Who did it (`controller`, `token/ID`, `person/ID`).
    pub actor: String,
    /// What was done, as a constant (`invites.revoked`).
    pub action: String,
    /// What it was done to (`cohort/pavia-pilot`).
    pub object: String,
    /// The particulars: counts and digests, no addresses and no codes.
    pub detail: Value,
}

/// An entry as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Its number.
    pub seq: i64,
    /// Its place in the chain, once linked.
    pub link: Option<i64>,
    /// The hash that names it and everything before it, once linked.
    pub hash: Option<Vec<u8>>,
    /// The hash of the entry before it in the chain, once linked.
    pub prev_hash: Option<Vec<u8>>,
    /// The entry.
    pub entry: Entry,
}

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// Entries recomputed.
    pub chained: i64,
    /// Entries not yet linked.
    pub waiting: i64,
    /// The first thing that does not fit, if any.
    pub problem: Option<Problem>,
}

/// The first place where the chain does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The place in the chain.
    pub link: i64,
    /// The number of the entry found there; none when the place is empty.
    pub seq: Option<i64>,
    /// What is wrong.
    pub what: Fault,
}

/// What can be wrong with a place in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No entry has this place.
    Missing,
    /// The entry does not name the one before it.
    Unlinked,
    /// The entry's content is not what was linked.
    Changed,
    /// The chain ends with another entry than it should.
    End,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Missing => "no entry has this place in the chain",
            Self::Unlinked => "the entry does not name the one before it",
            Self::Changed => "the entry was changed after it had been linked",
            Self::End => "the chain does not end where it did",
        })
    }
}

/// Which entries [`list`] gives, newest first.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only this program's.
    pub program: Option<String>,
    /// Only those done to this object.
    pub object: Option<String>,
    /// Only those with a number below this one (for paging).
    pub before: Option<i64>,
    /// Only those at or after this instant.
    pub since: Option<Timestamp>,
    /// At most so many; 100 when none is given.
    pub limit: Option<i64>,
}

/// Writes an entry as part of what it describes, and gives its number.
pub async fn append(tx: &mut Tx, entry: Entry) -> Result<i64, StoreError> {
    let Entry { at, program, actor, action, object, detail } = entry;
    let insert = "INSERT INTO audit_log (at, program, actor, action, object, detail)
        VALUES ($1, $2, $3, $4, $5, $6) RETURNING seq";
    tx.one(insert, args![at, program, actor, action, object, detail]).await?.get("seq")
}

/// Links every visible entry that is not linked yet, and says how many. The controller's leader calls it now and then;
/// two at once wait for each other.
pub async fn chain(store: &Store) -> Result<i64, StoreError> {
    // Looking takes no lock, which would be a write: at rest nothing is written.
    let waits = "SELECT EXISTS (SELECT 1 FROM audit_log WHERE link IS NULL) AS waits";
    if !store.one(waits, args![]).await?.get::<bool>("waits")? {
        return Ok(0);
    }
    let mut total = 0;
    loop {
        let linked = chain_batch(store).await?;
        total += linked;
        if linked < LINKED_AT_ONCE {
            return Ok(total);
        }
    }
}

async fn chain_batch(store: &Store) -> Result<i64, StoreError> {
    let mut tx = store.begin().await?;
    let head = match tx.dialect() {
        Dialect::Postgres => "SELECT link, hash FROM audit_head WHERE id = 1 FOR UPDATE",
        Dialect::Sqlite => "SELECT link, hash FROM audit_head WHERE id = 1",
    };
    let head = tx.one(head, args![]).await?;
    let (mut link, mut prev): (i64, Vec<u8>) = (head.get("link")?, head.get("hash")?);
    let next = "SELECT * FROM audit_log WHERE link IS NULL ORDER BY seq LIMIT $1";
    let rows = tx.all(next, args![LINKED_AT_ONCE]).await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let (mut values, mut bound) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len() * 4));
    for row in &rows {
        let kept = kept(row)?;
        link += 1;
        let hash = hash(&prev, link, &kept);
        let n = bound.len();
        values.push(format!("(${}, ${}, ${}, ${})", n + 1, n + 2, n + 3, n + 4));
        bound.extend([Arg::Int(kept.seq), Arg::Int(link), Arg::Bytes(prev), Arg::Bytes(hash.clone())]);
        prev = hash;
    }
    let update = format!(
        "UPDATE audit_log SET link = v.column2, prev_hash = v.column3, hash = v.column4
         FROM (VALUES {}) AS v WHERE audit_log.seq = v.column1",
        values.join(", ")
    );
    tx.execute(&update, &bound).await?;
    tx.execute("UPDATE audit_head SET link = $1, hash = $2 WHERE id = 1", args![link, prev]).await?;
    tx.commit().await?;
    Ok(i64::try_from(rows.len()).unwrap_or(i64::MAX))
}

/// Recomputes the chain from its beginning and names the first entry that does not fit.
pub async fn verify(store: &Store) -> Result<Verification, StoreError> {
    let counts = "SELECT (SELECT count(*) FROM audit_log WHERE link IS NULL) AS waiting, link, hash FROM audit_head";
    let Some(head) = store.opt(counts, args![]).await? else {
        let problem = Some(Problem { link: 0, seq: None, what: Fault::End });
        return Ok(Verification { chained: 0, waiting: 0, problem });
    };
    let (waiting, end, end_hash): (i64, i64, Vec<u8>) = (head.get("waiting")?, head.get("link")?, head.get("hash")?);
    let (mut link, mut prev) = (0_i64, vec![0_u8; 32]);
    let found = |chained, problem| Ok(Verification { chained, waiting, problem });
    let page = "SELECT * FROM audit_log WHERE link > $1 AND link <= $2 ORDER BY link LIMIT $3";
    loop {
        let rows = store.all(page, args![link, end, READ_AT_ONCE]).await?;
        if rows.is_empty() {
            break;
        }
        for row in &rows {
            let kept = kept(row)?;
            let expected = link + 1;
            let problem = |seq, what| Some(Problem { link: expected, seq, what });
            if kept.link != Some(expected) {
                return found(link, problem(None, Fault::Missing));
            }
            if kept.prev_hash.as_ref() != Some(&prev) {
                return found(link, problem(Some(kept.seq), Fault::Unlinked));
            }
            let hash = hash(&prev, expected, &kept);
            if kept.hash.as_ref() != Some(&hash) {
                return found(link, problem(Some(kept.seq), Fault::Changed));
            }
            (link, prev) = (expected, hash);
        }
    }
    if link < end || (end == 0 && waiting == 0 && is_used(store).await?) {
        return found(link, Some(Problem { link: link + 1, seq: None, what: Fault::Missing }));
    }
    if prev != end_hash {
        return found(link, Some(Problem { link, seq: None, what: Fault::End }));
    }
    found(link, None)
}

/// Whether something was done in this database: an entry tells of each of these.
async fn is_used(store: &Store) -> Result<bool, StoreError> {
    let used = "SELECT 1 AS used WHERE EXISTS (SELECT 1 FROM memory) OR EXISTS (SELECT 1 FROM flag_snapshots)
        OR EXISTS (SELECT 1 FROM tokens) OR EXISTS (SELECT 1 FROM beta_invites)";
    Ok(store.opt(used, args![]).await?.is_some())
}

/// Entries, newest first.
pub async fn list(store: &Store, filter: &Filter) -> Result<Vec<Kept>, StoreError> {
    let mut sql = String::from("SELECT * FROM audit_log WHERE 1 = 1");
    let mut bound: Vec<Arg> = Vec::new();
    let mut and = |condition: &str, arg: Option<Arg>| {
        if let Some(arg) = arg {
            bound.push(arg);
            sql.push_str(&format!(" AND {condition} ${}", bound.len()));
        }
    };
    and("program =", filter.program.as_ref().map(Arg::from));
    and("object =", filter.object.as_ref().map(Arg::from));
    and("seq <", filter.before.map(Arg::from));
    and("at >=", filter.since.map(Arg::from));
    bound.push(filter.limit.unwrap_or(100).into());
    sql.push_str(&format!(" ORDER BY seq DESC LIMIT ${}", bound.len()));
    store.all(&sql, &bound).await?.iter().map(kept).collect()
}

/// The part of the chain from the first entry about an object up to the entry with that number, in the chain's order.
///
/// # Errors
/// The database's.
pub async fn segment(store: &Store, object: &str, until: i64) -> Result<Vec<Kept>, StoreError> {
    let first = store.one("SELECT min(link) AS link FROM audit_log WHERE object = $1", args![object]).await?;
    let last = store.one("SELECT link FROM audit_log WHERE seq = $1", args![until]).await?;
    let (mut link, last): (i64, Option<i64>) = (first.get::<Option<i64>>("link")?.unwrap_or(1) - 1, last.get("link")?);
    let page = "SELECT * FROM audit_log WHERE link > $1 AND link <= $2 ORDER BY link LIMIT $3";
    let mut segment = Vec::new();
    loop {
        let rows = store.all(page, args![link, last.unwrap_or_default(), READ_AT_ONCE]).await?;
        if rows.is_empty() {
            return Ok(segment);
        }
        link += i64::try_from(rows.len()).unwrap_or(i64::MAX);
        for row in &rows {
            segment.push(kept(row)?);
        }
    }
}

fn kept(row: &Row) -> Result<Kept, StoreError> {
    Ok(Kept {
        seq: row.get("seq")?,
        link: row.get("link")?,
        hash: row.get("hash")?,
        prev_hash: row.get("prev_hash")?,
        entry: Entry {
            at: row.get("at")?,
            program: row.get("program")?,
            actor: row.get("actor")?,
            action: row.get("action")?,
            object: row.get("object")?,
            detail: row.get("detail")?,
        },
    })
}

/// sha256 of the hash before, then of the entry in canonical form; the same on either database.
pub fn hash(prev: &[u8], link: i64, kept: &Kept) -> Vec<u8> {
    let Entry { at, program, actor, action, object, detail } = &kept.entry;
    let body = json!({
        "link": link, "seq": kept.seq, "at": at.as_microsecond(), "program": program,
        "actor": actor, "action": action, "object": object, "detail": detail,
    });
    let mut text = String::new();
    canonical(&body, &mut text);
    let mut hasher = Sha256::new();
    hasher.update(prev);
    hasher.update(text.as_bytes());
    hasher.finalize().to_vec()
}

/// JSON with sorted keys and no spaces. A whole number is written without fraction or exponent, since `jsonb` keeps the
/// value of a number and not its spelling.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort();
            out.push('{');
            for (n, key) in keys.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                canonical(&fields[key], out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                canonical(item, out);
            }
            out.push(']');
        }
        Value::Number(number) => match number.as_f64() {
            Some(float) if !number.is_i64() && !number.is_u64() && float.fract() == 0.0 && float.abs() < 9e18 => {
                out.push_str(&(float as i64).to_string());
            }
            _ => out.push_str(&number.to_string()),
        },
        other => out.push_str(&other.to_string()),
    }
}
