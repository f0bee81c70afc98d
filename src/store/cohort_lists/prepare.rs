//! Looking at a list: is it sound, and in whom does it differ from the one in the database? Writes nothing.

use std::collections::HashSet;

use uuid::Uuid;

use super::super::people::suppression_key;
use super::super::{Arg, Row, Store, StoreError};
use super::{Beside, Change, CohortList, ListDelta, ListError, Prepared, SHOWN, Shown, Work, named, survey_beside};
use crate::args;
use crate::core::cohort::{
    Buckets, Digesting, Entry, ListOptions, ReadAs, RowDigest, Survey, change_digest, hash_of_norm, row_difference,
    rows,
};
use crate::keys::Keys;

/// Up to so many differing buckets are read from the database by range; more of them, and all rows are read.
const BUCKETS_BY_RANGE: usize = 16;
/// Rows read from the database at once.
const PAGE: i64 = 20_000;

/// Checks a list and compares it with the one its cohort has. The list's warnings are in the survey; whether they are
/// acknowledged is the caller's to know. A list that is in the database already is not checked again: its survey has the
/// digest and the number of rows, and nothing else.
///
/// # Errors
/// [`ListError::Broken`] with the survey when the list has errors; reading errors; the database's.
pub async fn prepare(
    store: &Store,
    keys: &Keys,
    list: &CohortList,
    options: &ListOptions,
) -> Result<Prepared, ListError> {
    prepare_beside(store, keys, list, options, &[]).await
}

/// [`prepare`], looking for the list's people in other cohorts' lists too, unless it is in the database already.
///
/// # Errors
/// As [`prepare`]; [`ListError::OtherKey`].
pub async fn prepare_beside(
    store: &Store,
    keys: &Keys,
    list: &CohortList,
    options: &ListOptions,
    beside: &[Beside],
) -> Result<Prepared, ListError> {
    let had = Had::load(store, list).await?;
    if let Some(from) = &had.digest
        && *from == digest_of(list, options.read_as).await?
    {
        return Ok(unchanged(from, had.rows, options.read_as));
    }
    let mut survey = read_through(list, options, beside).await?;
    if survey.errors > 0 {
        return Err(ListError::Broken(Box::new(survey)));
    }
    if survey.keys.iter().any(|key| *key != keys.pseudonym.id) {
        let (theirs, ours) = (survey.keys.into_iter().collect(), keys.pseudonym.id.clone());
        return Err(ListError::OtherKey { theirs, ours });
    }
    let people = std::mem::take(&mut survey.people);
    let mut delta = ListDelta {
        from: had.digest.clone(),
        to: survey.digest_hex(),
        rows_before: had.rows,
        rows: survey.rows,
        ..ListDelta::default()
    };
    let work = if had.is_new && had.erased.is_empty() {
        delta.added = survey.rows;
        delta.first = survey
            .first
            .iter()
            .map(|row| shown(Change::Added, named(&row.email, &row.email_norm), &row.label))
            .collect();
        Work::Everyone
    } else {
        compare(store, keys, list, options.read_as, (&had, &survey.buckets, people), &mut delta).await?
    };
    delta.digest = change_digest(delta.from.as_deref(), &delta.to);
    let buckets = std::mem::take(&mut survey.buckets);
    Ok(Prepared { survey, delta, work, buckets, read_as: options.read_as })
}

fn unchanged(digest: &str, rows: u64, read_as: ReadAs) -> Prepared {
    let (from, to) = (Some(digest.to_owned()), digest.to_owned());
    let mut delta = ListDelta { from, to, rows_before: rows, rows, ..ListDelta::default() };
    delta.digest = change_digest(delta.from.as_deref(), &delta.to);
    let mut survey = Survey { rows, ..Survey::default() };
    if let Some(bytes) = data_encoding::HEXLOWER.decode(digest.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok())
    {
        survey.digest = bytes;
    }
    Prepared { survey, delta, work: Work::Nothing, buckets: Buckets::default(), read_as }
}

/// The list's digest, without looking at its rows.
async fn digest_of(list: &CohortList, read_as: ReadAs) -> Result<String, ListError> {
    let source = list.source.clone();
    let read = tokio::task::spawn_blocking(move || Digesting::new(source.open()?, read_as).finish()).await;
    Ok(data_encoding::HEXLOWER.encode(&read.map_err(|_| ListError::Interrupted)??))
}

async fn read_through(list: &CohortList, options: &ListOptions, beside: &[Beside]) -> Result<Survey, ListError> {
    let (source, options, beside) = (list.source.clone(), options.clone(), beside.to_vec());
    let read = tokio::task::spawn_blocking(move || survey_beside(&source, &options, &beside)).await;
    Ok(read.map_err(|_| ListError::Interrupted)??)
}

/// What the database has of a cohort's list.
struct Had {
    digest: Option<String>,
    buckets: Option<Buckets>,
    rows: u64,
    /// No invite at all, from wherever.
    is_new: bool,
    /// Keys of everyone who was erased.
    erased: HashSet<Vec<u8>>,
}

impl Had {
    async fn load(store: &Store, list: &CohortList) -> Result<Self, StoreError> {
        let which = args![&list.program, &list.cohort];
        let sql = "SELECT list_digest, list_buckets, rows FROM cohort_state WHERE program = $1 AND cohort = $2";
        let state = store.opt(sql, which).await?;
        let digest: Option<String> = state.as_ref().map(|row| row.get("list_digest")).transpose()?.flatten();
        let buckets: Option<Vec<u8>> = state.as_ref().map(|row| row.get("list_buckets")).transpose()?.flatten();
        let rows = state.as_ref().map_or(Ok(0), |row| row.get::<i64>("rows"))?;
        let any = "SELECT id FROM beta_invites WHERE program = $1 AND cohort = $2 LIMIT 1";
        let is_new = digest.is_none() && store.opt(any, which).await?.is_none();
        let erased = store.all("SELECT address_key FROM suppressions", args![]).await?;
        let erased = erased.iter().map(|row| row.get("address_key")).collect::<Result<_, _>>()?;
        let buckets = buckets.and_then(|bytes| Buckets::from_bytes(&bytes));
        Ok(Self { digest, buckets, rows: u64::try_from(rows).unwrap_or(0), is_new, erased })
    }
}

type Everyone = Vec<(RowDigest, u32)>;

async fn compare(
    store: &Store,
    keys: &Keys,
    list: &CohortList,
    read_as: ReadAs,
    (had, buckets, mut people): (&Had, &Buckets, Everyone),
    delta: &mut ListDelta,
) -> Result<Work, ListError> {
    let differing = buckets.differing(had.buckets.as_ref().unwrap_or(&Buckets::default()));
    people.retain(|(digest, _)| differing.contains(&digest.bucket()));
    let known = known_rows(store, list, &differing).await?;
    let old = known.iter().map(|(digest, _)| *digest).collect();
    let difference = row_difference(old, people.iter().map(|(digest, _)| *digest).collect());
    let lines_of = |wanted: &[[u8; 16]]| -> Everyone {
        let found = wanted.iter().filter_map(|person| {
            let at = people.binary_search_by_key(person, |(digest, _)| digest.person()).ok()?;
            Some(people[at])
        });
        found.collect()
    };
    let added: HashSet<u32> = lines_of(&difference.added).iter().map(|(_, line)| *line).collect();
    let both = [lines_of(&difference.changed), lines_of(&difference.added)].concat();
    let mut lines: Vec<(u32, RowDigest)> = both.into_iter().map(|(digest, line)| (line, digest)).collect();
    lines.sort_unstable();
    let mut gone: Vec<Uuid> = Vec::with_capacity(difference.removed.len());
    for person in &difference.removed {
        if let Ok(at) = known.binary_search_by_key(person, |(digest, _)| digest.person()) {
            gone.push(known[at].1);
        }
    }
    // In the order in which the rows lie, which is that of their ids.
    gone.sort_unstable();
    if !had.erased.is_empty() {
        let erased =
            erased_lines(keys, list, read_as, lines.iter().map(|(line, _)| *line).collect(), &had.erased).await?;
        delta.erased = erased.len() as u64;
        lines.retain(|(line, _)| !erased.contains(line));
    }
    delta.changed = difference.changed.len() as u64;
    delta.added = lines.len() as u64 - delta.changed;
    delta.removed = gone.len() as u64;
    show(store, list, read_as, (&lines, &added, &gone), delta).await?;
    Ok(Work::Some { lines, gone })
}

/// The list's rows in the database that fall into these buckets, sorted by digest.
async fn known_rows(store: &Store, list: &CohortList, buckets: &[u8]) -> Result<Vec<(RowDigest, Uuid)>, StoreError> {
    let mut condition = String::new();
    let mut ranges: Vec<Arg> = Vec::new();
    let by_range = buckets.len() <= BUCKETS_BY_RANGE;
    if by_range {
        for bucket in buckets {
            let or = if condition.is_empty() { "" } else { " OR " };
            condition.push_str(&format!(
                "{or}(row_digest >= ${} AND row_digest < ${})",
                ranges.len() + 5,
                ranges.len() + 6
            ));
            ranges.push(vec![*bucket].into());
            // No digest is longer than 32 bytes: this is above all of the bucket's.
            ranges.push([&[*bucket][..], &[0xff; 32]].concat().into());
        }
        condition = if condition.is_empty() { " AND 1 = 0".to_owned() } else { format!(" AND ({condition})") };
    }
    // A few buckets fit into memory, and are found fastest in the order in which the rows lie.
    let order = if by_range { "" } else { "ORDER BY id" };
    let sql = format!(
        "SELECT id, row_digest FROM beta_invites WHERE program = $1 AND cohort = $2 AND id > $3 AND row_digest IS NOT NULL{condition}
         {order} LIMIT $4"
    );
    let mut known = Vec::new();
    let page_size = if by_range { i64::MAX } else { PAGE };
    let mut after = Uuid::nil();
    loop {
        let mut bound = vec![Arg::from(&list.program), Arg::from(&list.cohort), after.into(), page_size.into()];
        bound.extend(ranges.iter().cloned());
        let page = store.all(&sql, &bound).await?;
        for row in &page {
            after = row.get("id")?;
            let digest = digest(row)?;
            // Where all rows are read, those of the other buckets are as they were: on the list's side they are left out too.
            if by_range || buckets.contains(&digest.bucket()) {
                known.push((digest, after));
            }
        }
        if (page.len() as i64) < page_size {
            break;
        }
    }
    known.sort_unstable();
    Ok(known)
}

fn digest(row: &Row) -> Result<RowDigest, StoreError> {
    let bytes: Vec<u8> = row.get("row_digest")?;
    let bytes = bytes.try_into().map_err(|_| StoreError::Invalid("a row digest is not 32 bytes long".into()))?;
    Ok(RowDigest(bytes))
}

/// On which of the lines someone stands who was erased.
async fn erased_lines(
    keys: &Keys,
    list: &CohortList,
    read_as: ReadAs,
    lines: Vec<u32>,
    erased: &HashSet<Vec<u8>>,
) -> Result<HashSet<u32>, ListError> {
    let mut found = HashSet::new();
    for entry in rows(list.source.open()?, read_as).only_at(lines) {
        if let Entry::Row(row) = entry?
            && erased.contains(
                &hash_of_norm(&row.email_norm).map_or_else(|| suppression_key(keys, &row.email_norm), Vec::from),
            )
        {
            found.insert(u32::try_from(row.line).unwrap_or(u32::MAX));
        }
    }
    Ok(found)
}

/// Fills in the first twenty, and how many of the removed are in.
async fn show(
    store: &Store,
    list: &CohortList,
    read_as: ReadAs,
    (lines, added, gone): (&[(u32, RowDigest)], &HashSet<u32>, &[Uuid]),
    delta: &mut ListDelta,
) -> Result<(), ListError> {
    for entry in rows(list.source.open()?, read_as).only_at(lines.iter().take(SHOWN).map(|(line, _)| *line).collect()) {
        if let Entry::Row(row) = entry? {
            let is_added = u32::try_from(row.line).is_ok_and(|line| added.contains(&line));
            let change = if is_added { Change::Added } else { Change::Changed };
            delta.first.push(shown(change, named(&row.email, &row.email_norm), &row.label));
        }
    }
    let any = store.dialect().any("id", "$1");
    for ids in gone.chunks(10_000) {
        let sql = format!("SELECT count(*) AS members FROM beta_invites WHERE {any} AND state = 'used'");
        let members: i64 = store.one(&sql, args![ids.to_vec()]).await?.get("members")?;
        delta.removed_members += u64::try_from(members).unwrap_or(0);
    }
    let room = SHOWN.saturating_sub(delta.first.len());
    let ids: Vec<Uuid> = gone.iter().copied().take(room).collect();
    let sql = format!("SELECT email, email_norm, label, state FROM beta_invites WHERE {any} ORDER BY position, id");
    for row in store.all(&sql, args![ids]).await? {
        let email: Option<String> = row.get("email")?;
        let who = named(&email.unwrap_or_default(), &row.get::<String>("email_norm")?);
        let mut one = shown(Change::Removed, who, &row.get::<String>("label")?);
        one.is_member = row.get::<String>("state")? == "used";
        delta.first.push(one);
    }
    Ok(())
}

fn shown(change: Change, email: String, label: &str) -> Shown {
    Shown { change, email, label: label.to_owned(), is_member: false }
}
