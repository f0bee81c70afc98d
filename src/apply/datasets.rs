//! Reference rows made what their file says, or undone: in the caller's transaction, so that an effect and its record are one. Whatever is taken away or
//! changed is kept in a dump first.
//!
//! Must not know: where a file lies, why a dataset is undone.

use std::collections::BTreeMap;

use betagate_core::dataset::{DatasetDelta, Difference, LiveRow, PUBLISHED, Rows, unmet};
use betagate_core::resources::Undo;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::store::audit::{self, Entry};
use crate::store::datasets::{self, DumpBody, Hand, keep_dump, newest_dump};
use crate::store::{Store, StoreError, Tx};

/// Why a dataset was not made what it should be. Nothing of the transaction may be kept.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The database. Retryable while it is away.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row stands in the way that no dataset brought. Terminal until somebody takes it away.
    #[error("a row that is there already stands in the way: {0}")]
    Taken(String),
    /// The counts would not be as expected. Terminal for this file.
    #[error("the table would not be as expected: {}", .0.join("; "))]
    Unmet(Vec<String>),
    /// There is nothing that could be put back. Terminal until there is a dump.
    #[error("there is no dump that could be put back: none was taken before a change")]
    NoDump,
    /// The rows are not to be had. Terminal for this revision.
    #[error("the rows are not to be had: the dataset's file can't be read")]
    NoRows,
}

impl DatasetError {
    /// The database's own trouble, or another controller's lead: no word about the dataset.
    pub fn into_store(self) -> Result<StoreError, Self> {
        match self {
            Self::Store(error @ (StoreError::Unavailable(_) | StoreError::Fenced { .. })) => Ok(error),
            other => Err(other),
        }
    }
}

/// What bringing rows in came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// What was done.
    pub delta: DatasetDelta,
    /// The table's rows by status, after.
    pub counts: BTreeMap<String, u64>,
}

/// What undoing came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undone {
    /// The dump that was kept of what stood there.
    pub kept: Option<Uuid>,
    /// The dump that was put back.
    pub put_back: Option<Uuid>,
    /// The table's rows by status, after.
    pub counts: BTreeMap<String, u64>,
}

impl Undone {
    /// As a receipt tells it.
    pub fn told(&self, how: Undo, dataset: &str) -> Value {
        json!({
            "undone": how.name(), "dataset": dataset, "kept": self.kept, "putBack": self.put_back, "counts": self.counts,
        })
    }
}

/// Makes the table hold the rows: new ones are imported as drafts, then published, changed ones are changed, those that are gone from the file go.
/// A second time changes nothing.
///
/// # Errors
/// [`DatasetError`]; the transaction must be dropped then.
pub async fn bring(
    tx: &mut Tx,
    hand: &Hand<'_>,
    rows: &Rows,
    expect: &BTreeMap<String, u64>,
) -> Result<Brought, DatasetError> {
    datasets::lock(tx, hand.shape).await?;
    let live = datasets::live_in(tx, hand.shape).await?;
    let difference = Difference::between(rows, &live);
    let delta = difference.told(&rows.digest);
    let mut kept = None;
    if !difference.is_empty() {
        kept = keep(tx, hand, &live).await?;
        // What goes makes room for what comes: a row may have another key and the same name.
        let gone: Vec<String> = difference.removes.iter().map(|row| row.key.clone()).collect();
        datasets::remove(tx, hand, &gone).await?;
        datasets::update(tx, hand, &difference.updates).await.map_err(taken)?;
        datasets::import(tx, hand, &difference.imports).await.map_err(taken)?;
        datasets::publish(tx, hand, &difference.publishes).await?;
    }
    let counts = datasets::counts_in(tx, hand.shape).await?;
    let missed = unmet(expect, &counts);
    if !missed.is_empty() {
        return Err(DatasetError::Unmet(missed));
    }
    if !difference.is_empty() {
        let detail = json!({ "delta": delta, "counts": counts, "kept": kept });
        record(tx, hand, "dataset.brought", detail).await?;
        let DatasetDelta { imports, publishes, updates, removes, .. } = &delta;
        tracing::info!(
            dataset = hand.dataset,
            "{}: {imports} imported, {publishes} published, {updates} updated, {removes} removed",
            hand.shape.log
        );
    }
    Ok(Brought { delta, counts })
}

/// By hand: brings new rows in as drafts and makes those that are there say what the file says. Nothing is published or taken away.
///
/// # Errors
/// [`DatasetError`]; the transaction must be dropped then.
pub async fn import(tx: &mut Tx, hand: &Hand<'_>, rows: &Rows) -> Result<Brought, DatasetError> {
    datasets::lock(tx, hand.shape).await?;
    let live = datasets::live_in(tx, hand.shape).await?;
    let whole = Difference::between(rows, &live);
    let difference = Difference { imports: whole.imports, updates: whole.updates, ..Difference::default() };
    let delta = difference.told(&rows.digest);
    if !difference.is_empty() {
        let kept = keep(tx, hand, &live).await?;
        datasets::update(tx, hand, &difference.updates).await.map_err(taken)?;
        datasets::import(tx, hand, &difference.imports).await.map_err(taken)?;
        record(tx, hand, "dataset.imported", json!({ "delta": delta, "kept": kept })).await?;
        tracing::info!("{}: {} imported, {} updated", hand.shape.log, delta.imports, delta.updates);
    }
    Ok(Brought { delta, counts: datasets::counts_in(tx, hand.shape).await? })
}

/// By hand: publishes every draft. Gives their keys, and the table's rows by status.
///
/// # Errors
/// The database's; the transaction must be dropped then.
pub async fn publish(tx: &mut Tx, hand: &Hand<'_>) -> Result<(Vec<String>, BTreeMap<String, u64>), DatasetError> {
    datasets::lock(tx, hand.shape).await?;
    let drafts = datasets::live_in(tx, hand.shape).await?.into_iter().filter(|row| row.status != PUBLISHED);
    let published = datasets::publish(tx, hand, &drafts.map(|row| row.key).collect::<Vec<_>>()).await?;
    if !published.is_empty() {
        record(tx, hand, "dataset.published", json!({ "count": published.len() })).await?;
    }
    Ok((published, datasets::counts_in(tx, hand.shape).await?))
}

/// By hand: puts a dump back, the newest that is kept when none is given. Whatever stood there is kept in a dump.
///
/// # Errors
/// [`DatasetError`]; the transaction must be dropped then.
pub async fn put_back(tx: &mut Tx, hand: &Hand<'_>, body: Option<DumpBody>) -> Result<Undone, DatasetError> {
    datasets::lock(tx, hand.shape).await?;
    let (id, body) = match body {
        Some(body) => (None, body),
        None => {
            let (dump, body) = newest_dump(tx, hand.shape, false).await?.ok_or(DatasetError::NoDump)?;
            (Some(dump.id), body)
        }
    };
    let kept = keep_dump(tx, hand, "before a dump was put back", false).await?.map(|dump| dump.id);
    datasets::put_back(tx, hand.shape, &body).await.map_err(taken)?;
    let undone = Undone { kept, put_back: id, counts: datasets::counts_in(tx, hand.shape).await? };
    record(tx, hand, "dataset.undone", undone.told(Undo::Restore, hand.dataset)).await?;
    Ok(undone)
}

/// Keeps what stands there. It is something to go back to only where it is what a file said: rows that somebody has changed by hand are not.
async fn keep(tx: &mut Tx, hand: &Hand<'_>, live: &[LiveRow]) -> Result<Option<Uuid>, StoreError> {
    let whole = datasets::staged_in(tx, hand.shape).await? == live.len() as u64;
    let sound = whole && !live.is_empty() && live.iter().all(LiveRow::is_sound);
    Ok(keep_dump(tx, hand, "before its rows changed", sound).await?.map(|dump| dump.id))
}

/// Undoes a dataset. Whatever stood there is kept in a dump.
///
/// # Errors
/// [`DatasetError`]; the transaction must be dropped then.
pub async fn undo(
    tx: &mut Tx,
    hand: &Hand<'_>,
    how: Undo,
    rows: Option<&Rows>,
    expect: &BTreeMap<String, u64>,
) -> Result<Undone, DatasetError> {
    datasets::lock(tx, hand.shape).await?;
    let back = match how {
        Undo::Restore => Some(newest_dump(tx, hand.shape, true).await?.ok_or(DatasetError::NoDump)?),
        Undo::Truncate | Undo::Reseed => None,
    };
    let reason = format!("before it was undone: {}", how.name());
    let kept = keep_dump(tx, hand, &reason, false).await?.map(|dump| dump.id);
    match &back {
        Some((_, body)) => datasets::put_back(tx, hand.shape, body).await?,
        None => datasets::clear(tx, hand.shape).await?,
    }
    if how == Undo::Reseed {
        let rows = rows.ok_or(DatasetError::NoRows)?;
        let keys: Vec<String> = rows.rows.iter().map(|row| row.key.clone()).collect();
        datasets::import(tx, hand, &rows.rows).await?;
        datasets::publish(tx, hand, &keys).await?;
    }
    let counts = datasets::counts_in(tx, hand.shape).await?;
    let missed = if how == Undo::Reseed { unmet(expect, &counts) } else { Vec::new() };
    if !missed.is_empty() {
        return Err(DatasetError::Unmet(missed));
    }
    let undone = Undone { kept, put_back: back.map(|(dump, _)| dump.id), counts };
    record(tx, hand, "dataset.undone", undone.told(how, hand.dataset)).await?;
    tracing::info!(dataset = hand.dataset, how = how.name(), "a dataset was undone");
    Ok(undone)
}

/// One entry of the main chain.
///
/// # Errors
/// The database's.
pub async fn record(tx: &mut Tx, hand: &Hand<'_>, action: &str, detail: Value) -> Result<(), StoreError> {
    let entry = Entry {
        at: hand.now,
        program: hand.program.to_owned(),
        actor: hand.actor.to_owned(),
        action: action.to_owned(),
        object: format!("Dataset/{}", hand.dataset),
        detail,
    };
    audit::append(tx, entry).await.map(drop)
}

/// The digest of the rows that were brought in last, as the record tells; none where it does not.
///
/// # Errors
/// The database's.
pub async fn brought_last(store: &Store, program: &str, dataset: &str) -> Result<Option<String>, StoreError> {
    let of = audit::Filter {
        program: Some(program.to_owned()),
        object: Some(format!("Dataset/{dataset}")),
        ..audit::Filter::default()
    };
    let newest = audit::list(store, &of).await?.into_iter();
    let mut brought =
        newest.filter(|kept| matches!(kept.entry.action.as_str(), "dataset.brought" | "dataset.imported"));
    Ok(brought.next().and_then(|kept| kept.entry.detail["delta"]["digest"].as_str().map(str::to_owned)))
}

fn taken(error: StoreError) -> DatasetError {
    match error {
        StoreError::Conflict(said) => DatasetError::Taken(said),
        other => other.into(),
    }
}
