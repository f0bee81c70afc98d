//! The rows of a list on their way into the table: read and encoded on a thread of their own, written as they come.
//!
//! PostgreSQL takes a binary `COPY`, straight into the table when the cohort is new, else by way of a temporary table;
//! SQLite takes rows by the hundred. Memory is bounded by what stands in the channel between the two.

use std::io::Read;

use jiff::Timestamp;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::super::{Arg, Dialect, StoreError, Tx};
use super::hashed::Known;
use super::{CohortList, ListError, ListSource, Prepared};
use crate::args;
use crate::core::cohort::{Digesting, Entry, ListRow, ReadAs, RowDigest, Rows, rows};

/// Bytes of `COPY` data sent at once.
const CHUNK: usize = 256 * 1024;
/// Rows inserted by one statement on SQLite; ten bound values each, of 32,766.
const ROWS: usize = 500;
/// Chunks or statements waiting to be written.
const AHEAD: usize = 4;
/// SQLite's page cache while a long list is written, in KiB, so that its indexes stay in memory; and otherwise.
const LOADING_KIB: i64 = 131_072;
const USUAL_KIB: i64 = 2_000;
/// A list is long from so many rows on.
const LONG: u64 = 10_000;

const COLUMNS: &str =
    "id, email, email_norm, label, role, invited_by, locale, note, position, row_digest, program, cohort, state,
    source, created_at";
/// An address that has an invite already: the list's words count, and an invite that was revoked because its row went
/// comes back with a new code. One that was taken back by a person stays so. No mail goes to a list of keyed hashes, also where an address is
/// known.
const ON_CONFLICT: &str = "ON CONFLICT (email_norm, program, cohort) DO UPDATE SET
    email = excluded.email, label = excluded.label, role = excluded.role, invited_by = excluded.invited_by,
    locale = excluded.locale, note = excluded.note, row_digest = excluded.row_digest,
    state = CASE WHEN BACK THEN excluded.state ELSE beta_invites.state END,
    position = CASE WHEN BACK THEN excluded.position ELSE beta_invites.position END,
    generation = CASE WHEN BACK THEN beta_invites.generation + 1 ELSE beta_invites.generation END,
    code_generation = CASE WHEN BACK THEN beta_invites.generation + 1 ELSE beta_invites.code_generation END,
    code_digest = CASE WHEN BACK THEN NULL ELSE beta_invites.code_digest END,
    rendered_at = CASE WHEN BACK THEN NULL ELSE beta_invites.rendered_at END,
    mail_generation = CASE WHEN BACK AND HASHED THEN beta_invites.generation + 1 ELSE beta_invites.mail_generation END,
    expires_at = CASE WHEN BACK THEN NULL ELSE beta_invites.expires_at END,
    revoked_at = CASE WHEN BACK THEN NULL ELSE beta_invites.revoked_at END,
    revoke_reason = CASE WHEN BACK THEN NULL ELSE beta_invites.revoke_reason END";
const BACK: &str = "beta_invites.state = 'revoked' AND beta_invites.revoke_reason = 'removed from the list'";

/// What every row of a list has in common.
#[derive(Clone, Copy)]
pub(super) struct Load<'a> {
    pub(super) list: &'a CohortList,
    pub(super) prepared: &'a Prepared,
    pub(super) first_position: i64,
    pub(super) state: &'static str,
    pub(super) now: Timestamp,
}

/// Writes the list's rows, or those on `lines` only; `known` are the addresses behind hashes.
pub(super) async fn write_rows(
    tx: &mut Tx,
    load: Load<'_>,
    lines: Option<Vec<(u32, RowDigest)>>,
    known: Known,
) -> Result<(), ListError> {
    let expected = lines.as_ref().map_or(load.prepared.delta.rows, |lines| lines.len() as u64);
    let (sender, batches) = mpsc::channel(AHEAD);
    let encoder = match tx.dialect() {
        Dialect::Postgres => Encoder::Copy(CopyText::new(&load)),
        Dialect::Sqlite => Encoder::Rows(Vec::new(), 0),
    };
    let reader = Reader {
        source: load.list.source.clone(),
        read_as: load.prepared.read_as,
        known,
        position: load.first_position,
        lines,
        expected,
        digest: load.prepared.survey.digest,
        encoder,
        sender,
    };
    let reading = tokio::task::spawn_blocking(move || reader.run());
    let written = write(tx, &load, expected > LONG, batches).await;
    // When reading was the one to fail, it knows why.
    match reading.await.map_err(|_| ListError::Interrupted)? {
        Err(ListError::Interrupted) | Ok(()) => Ok(written?),
        Err(error) => Err(error),
    }
}

async fn write(tx: &mut Tx, load: &Load<'_>, long: bool, mut batches: mpsc::Receiver<Batch>) -> Result<(), StoreError> {
    match tx.dialect() {
        Dialect::Postgres if matches!(load.prepared.work, super::Work::Everyone) => {
            copy(tx, "beta_invites", &mut batches).await
        }
        Dialect::Postgres => {
            let stage = "CREATE TEMP TABLE list_stage (LIKE beta_invites INCLUDING DEFAULTS) ON COMMIT DROP";
            tx.execute(stage, args![]).await?;
            copy(tx, "list_stage", &mut batches).await?;
            tx.execute("ANALYZE list_stage", args![]).await?;
            let merge =
                format!("INSERT INTO beta_invites ({COLUMNS}) SELECT {COLUMNS} FROM list_stage {}", on_conflict(load));
            tx.execute(&merge, args![]).await?;
            Ok(())
        }
        Dialect::Sqlite => insert(tx, load, long, &mut batches).await,
    }
}

fn on_conflict(load: &Load<'_>) -> String {
    let is_hashed = if load.prepared.read_as.hashed { "1 = 1" } else { "1 = 0" };
    ON_CONFLICT.replace("BACK", BACK).replace("HASHED", is_hashed)
}

enum Batch {
    Copy(Vec<u8>),
    Rows(Vec<Arg>, usize),
}

async fn copy(tx: &mut Tx, table: &str, batches: &mut mpsc::Receiver<Batch>) -> Result<(), StoreError> {
    let Some(connection) = tx.postgres() else {
        return Err(StoreError::Invalid("COPY is PostgreSQL's".into()));
    };
    let mut sink = connection.copy_in_raw(&format!("COPY {table} ({COLUMNS}) FROM STDIN (FORMAT binary)")).await?;
    while let Some(batch) = batches.recv().await {
        if let Batch::Copy(bytes) = batch {
            sink.send(bytes).await?;
        }
    }
    sink.finish().await?;
    Ok(())
}

async fn insert(
    tx: &mut Tx,
    load: &Load<'_>,
    long: bool,
    batches: &mut mpsc::Receiver<Batch>,
) -> Result<(), StoreError> {
    if long {
        tx.execute(&format!("PRAGMA cache_size = -{LOADING_KIB}"), args![]).await?;
    }
    let mut statement = (0, String::new());
    while let Some(batch) = batches.recv().await {
        let Batch::Rows(rows, count) = batch else { continue };
        if statement.0 != count {
            statement = (count, insertion(count, load));
        }
        let CohortList { program, cohort, .. } = load.list;
        let mut bound = args![program, cohort, load.state, "list", load.now].to_vec();
        bound.extend(rows);
        tx.execute(&statement.1, &bound).await?;
    }
    if long {
        tx.execute(&format!("PRAGMA cache_size = -{USUAL_KIB}"), args![]).await?;
    }
    Ok(())
}

/// Unnamed parameters: SQLite looks a named one up among all of them each time it is bound.
fn insertion(count: usize, load: &Load<'_>) -> String {
    let row = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let rows = vec![row; count].join(", ");
    let columns: Vec<String> =
        (1..=10).map(|n| format!("r.column{n}")).chain((1..=5).map(|n| format!("c.column{n}"))).collect();
    let columns = columns.join(", ");
    let on_conflict = on_conflict(load);
    format!(
        "INSERT INTO beta_invites ({COLUMNS}) SELECT {columns} FROM (VALUES (?, ?, ?, ?, ?)) AS c, (VALUES {rows}) AS r WHERE true
         {on_conflict}"
    )
}

/// Reads the list and hands batches over, on a thread that may block.
struct Reader {
    source: ListSource,
    read_as: ReadAs,
    known: Known,
    position: i64,
    lines: Option<Vec<(u32, RowDigest)>>,
    expected: u64,
    digest: [u8; 32],
    encoder: Encoder,
    sender: mpsc::Sender<Batch>,
}

impl Reader {
    /// Hands everything over. Fails when what is read is not what was looked at: by the digest of the whole, or, for
    /// single lines, by the digest of each.
    fn run(mut self) -> Result<(), ListError> {
        let Some(wanted) = self.lines.take() else {
            let mut input = Digesting::new(self.source.open()?, self.read_as);
            let count = self.hand_over_all(rows(&mut input, self.read_as), |_, _| true)?;
            let same = count == self.expected && input.finish()? == self.digest;
            return if same { Ok(()) } else { Err(ListError::Stale) };
        };
        let lines = wanted.iter().map(|(line, _)| *line).collect();
        let list = rows(self.source.open()?, self.read_as).only_at(lines);
        let count =
            self.hand_over_all(list, |at, digest| wanted.get(at).is_some_and(|(_, wanted)| *wanted == digest))?;
        if count == self.expected { Ok(()) } else { Err(ListError::Stale) }
    }

    fn hand_over_all<R: Read>(
        &mut self,
        list: Rows<R>,
        is_wanted: impl Fn(usize, RowDigest) -> bool,
    ) -> Result<u64, ListError> {
        let mut count = 0;
        for entry in list {
            let Entry::Row(mut row) = entry? else { return Err(ListError::Stale) };
            let digest = row.digest();
            if !is_wanted(count, digest) {
                return Err(ListError::Stale);
            }
            count += 1;
            self.known.fill_in(&mut row);
            let full = self.encoder.push(row, digest.0, self.position);
            self.position += 1;
            if full {
                self.hand_over(false)?;
            }
        }
        self.hand_over(true)?;
        Ok(count as u64)
    }

    fn hand_over(&mut self, last: bool) -> Result<(), ListError> {
        let batch = match &mut self.encoder {
            Encoder::Copy(copy) => Batch::Copy(copy.take(last)),
            Encoder::Rows(_, 0) => return Ok(()),
            Encoder::Rows(rows, count) => Batch::Rows(std::mem::take(rows), std::mem::take(count)),
        };
        // Nobody takes it any more: the writing has failed, and says why itself.
        self.sender.blocking_send(batch).map_err(|_| ListError::Interrupted)
    }
}

enum Encoder {
    Copy(CopyText),
    Rows(Vec<Arg>, usize),
}

impl Encoder {
    /// Takes a row in; `true` when it is time to hand over.
    fn push(&mut self, row: ListRow, digest: [u8; 32], position: i64) -> bool {
        match self {
            Self::Copy(copy) => {
                copy.push(&row, &digest, position);
                copy.buffer.len() >= CHUNK
            }
            Self::Rows(args, count) => {
                args.push(Uuid::now_v7().into());
                args.push((!row.email.is_empty()).then_some(row.email).into());
                args.extend([row.email_norm, row.label, row.role, row.invited_by, row.locale, row.note].map(Arg::from));
                args.push(position.into());
                args.push(digest[..].into());
                *count += 1;
                *count == ROWS
            }
        }
    }
}

/// PostgreSQL's binary `COPY` format, in the order of [`COLUMNS`].
struct CopyText {
    buffer: Vec<u8>,
    /// The five fields that are the same for every row.
    tail: Vec<u8>,
}

/// 2000-01-01, PostgreSQL's epoch, in microseconds since 1970.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

impl CopyText {
    fn new(load: &Load<'_>) -> Self {
        let mut tail = Vec::new();
        for text in [&load.list.program, &load.list.cohort, load.state, "list"] {
            field(&mut tail, text.as_bytes());
        }
        field(&mut tail, &(load.now.as_microsecond() - POSTGRES_EPOCH).to_be_bytes());
        let mut buffer = Vec::with_capacity(CHUNK + 4096);
        buffer.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
        Self { buffer, tail }
    }

    fn push(&mut self, row: &ListRow, digest: &[u8], position: i64) {
        let into = &mut self.buffer;
        into.extend_from_slice(&15_i16.to_be_bytes());
        field(into, Uuid::now_v7().as_bytes());
        match row.email.as_str() {
            "" => into.extend_from_slice(&(-1_i32).to_be_bytes()),
            email => field(into, email.as_bytes()),
        }
        for text in [&row.email_norm, &row.label, &row.role, &row.invited_by, &row.locale, &row.note] {
            field(into, text.as_bytes());
        }
        field(into, &position.to_be_bytes());
        field(into, digest);
        into.extend_from_slice(&self.tail);
    }

    fn take(&mut self, last: bool) -> Vec<u8> {
        if last {
            self.buffer.extend_from_slice(&(-1_i16).to_be_bytes());
        }
        std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK + 4096))
    }
}

/// A field is shorter than 2 GiB: a record of a list is at most 64 KiB.
fn field(into: &mut Vec<u8>, bytes: &[u8]) {
    into.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
    into.extend_from_slice(bytes);
}
