//! Gathers what belongs to a run: the run itself, the documents in force, readings, reviews, words, incidents, effects, receipts, its part of the log.
//!
//! Addresses are masked in every file: an archive leaves the house. (The log has none, and could not be checked any more.) Must not know: how it is packed, who
//! asks.

use betagate_core::decide::{MessageKind, RunMemory};
use betagate_core::pull::masked;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

use super::{CHAIN, FORM, Files, Head, MADE, MANIFEST, Manifest, RECEIPTS, digest};
use crate::outbox::minutes::file_name;
use crate::store::audit::{self, Entry, Kept};
use crate::store::{Store, StoreError, incidents, memory, outbox, readings, signoffs, status, steps};

/// What was measured is kept from so long before the run on, and until so long after its end.
const AROUND: SignedDuration = SignedDuration::from_hours(24);
/// Reviews looked through at most: ten years of weeks.
const MOST_REVIEWS: i64 = 520;

/// Why no archive could be put together.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// There is no such run.
    #[error("there is no run '{0}' in program '{1}'")]
    NoRun(String, String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Gathers the evidence of a run, and writes into the log that it was: `actor` asked for it. `documents` are the cause documents at hand, by name.
///
/// # Errors
/// See [`GatherError`].
pub async fn gather(
    store: &Store,
    (program, run): (&str, &str),
    documents: Files,
    (actor, now): (&str, Timestamp),
) -> Result<(Files, Head), GatherError> {
    let kept = memory::load(store, program).await?;
    let found = kept.into_iter().find(|document| document.kind == "run" && document.name == run);
    let Some(body) = found.map(|document| document.body) else {
        return Err(GatherError::NoRun(run.to_owned(), program.to_owned()));
    };
    let mut files: Files =
        documents.into_iter().map(|(name, text)| (format!("documents/{}", plain(&name)), text)).collect();
    files.extend(minutes(store, program, &body, now).await?);
    files.insert("README.txt".to_owned(), README.to_owned());
    files.insert("run.json".to_owned(), pretty(&body));
    let (gates, from, until) = about(&body, now);
    files.insert("desired.json".to_owned(), pretty(&desired(store, program, &body).await?));
    files.insert("readings.json".to_owned(), pretty(&measured(store, program, &gates, (from, until)).await?));
    files.insert("verdicts.json".to_owned(), pretty(&reviewed(store, program, (from, until)).await?));
    files.insert("approvals.json".to_owned(), pretty(&words(store, program, run, (from, until)).await?));
    files.insert("incidents.json".to_owned(), pretty(&troubles(store, program, (from, until)).await?));
    files.insert(RECEIPTS.to_owned(), pretty(&receipts(store, run).await?));
    let effects = steps::effects_of(store, program, run).await?;
    let effects = effects.into_iter().map(|(key, at, detail)| json!({ "effect": key, "at": at, "detail": detail }));
    files.insert("effects.json".to_owned(), pretty(&effects.collect::<Vec<_>>()));
    // Whatever a file says: an archive leaves the house. Before the digests are taken, which are those of what is in it.
    files.values_mut().for_each(|text| *text = masked(text));
    let digests = files.iter().map(|(name, text)| (name.clone(), digest(text)));
    let manifest =
        Manifest { form: FORM, program: program.to_owned(), run: run.to_owned(), at: now, files: digests.collect() };
    let manifest = pretty(&manifest);
    let head = in_the_log(store, (program, run), &manifest, (actor, now), &mut files).await?;
    files.insert(MANIFEST.to_owned(), manifest);
    Ok((files, head))
}

/// Writes the archive's digest into the log, and the part of the log up to there into the archive.
async fn in_the_log(
    store: &Store,
    (program, run): (&str, &str),
    manifest: &str,
    (actor, now): (&str, Timestamp),
    files: &mut Files,
) -> Result<Head, StoreError> {
    let object = format!("Rollback/{run}");
    let mut tx = store.begin().await?;
    let entry = Entry {
        at: now,
        program: program.to_owned(),
        actor: actor.to_owned(),
        action: MADE.to_owned(),
        object: object.clone(),
        detail: json!({ "manifest": digest(manifest) }),
    };
    let seq = audit::append(&mut tx, entry).await?;
    tx.commit().await?;
    audit::chain(store).await?;
    let segment = audit::segment(store, &object, seq).await?;
    let mut lines = String::new();
    for kept in &segment {
        lines.push_str(&line(kept).to_string());
        lines.push('\n');
    }
    files.insert(CHAIN.to_owned(), lines);
    let last = segment.last();
    let hash = last.and_then(|kept| kept.hash.as_deref()).unwrap_or_default();
    Ok(Head { link: last.and_then(|kept| kept.link).unwrap_or_default(), hash: data_encoding::HEXLOWER.encode(hash) })
}

fn line(kept: &Kept) -> Value {
    let hex = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(|bytes| data_encoding::HEXLOWER.encode(bytes));
    let Entry { at, program, actor, action, object, detail } = &kept.entry;
    json!({
        "link": kept.link, "seq": kept.seq, "at": at.as_microsecond(), "program": program, "actor": actor,
        "action": action, "object": object, "detail": detail, "prev": hex(&kept.prev_hash), "hash": hex(&kept.hash),
    })
}

/// The gates that a run is about, and from when to when.
fn about(body: &Value, now: Timestamp) -> (Vec<String>, Timestamp, Timestamp) {
    let run: Option<RunMemory> = serde_json::from_value(body.clone()).ok();
    // Everything, then: before that nothing is recorded, and a database knows no time as early as the first one here.
    let Some(run) = run else { return (Vec::new(), Timestamp::UNIX_EPOCH, now) };
    let mut gates: Vec<String> = run.gates.iter().cloned().collect();
    gates.extend(run.episodes.iter().filter_map(|episode| Some(episode.missed.as_ref()?.gate.clone())));
    gates.sort();
    gates.dedup();
    let until = run.lifted_at.map_or(now, |at| at.checked_add(AROUND).unwrap_or(at));
    (gates, run.started_at.checked_sub(AROUND).unwrap_or(run.started_at), until)
}

/// The commit that was live, and the documents that are in force.
async fn desired(store: &Store, program: &str, body: &Value) -> Result<Value, StoreError> {
    let all = status::all_good(store).await?;
    let own = all.into_iter().filter(|good| good.program == program);
    let documents = own.map(|good| {
        json!({ "kind": good.kind, "name": good.name, "revision": good.revision, "acceptedAt": good.accepted_at, "body": good.body })
    });
    Ok(json!({ "commitWhenItBegan": body["revision"], "documents": documents.collect::<Vec<_>>() }))
}

async fn measured(
    store: &Store,
    program: &str,
    gates: &[String],
    (from, until): (Timestamp, Timestamp),
) -> Result<Value, StoreError> {
    let all = readings::of_program(store, program, None).await?;
    let own = all.iter().filter(|one| gates.contains(&one.gate) && one.at >= from && one.at <= until);
    Ok(own.map(|one| json!({ "gate": one.gate, "check": one.check, "at": one.at, "reading": one.body })).collect())
}

async fn reviewed(store: &Store, program: &str, (from, until): (Timestamp, Timestamp)) -> Result<Value, StoreError> {
    let all = readings::reviews(store, program, None, MOST_REVIEWS).await?;
    let own = all.iter().filter(|one| one.sealed_at >= from && one.sealed_at <= until);
    Ok(own
        .map(|one| json!({ "gate": one.gate, "dueAt": one.due_at, "sealedAt": one.sealed_at, "verdict": one.verdict, "review": one.body }))
        .collect())
}

async fn words(
    store: &Store,
    program: &str,
    run: &str,
    (from, until): (Timestamp, Timestamp),
) -> Result<Value, StoreError> {
    let all = signoffs::list(store, program).await?;
    let own = all.iter().filter(|one| match &one.run {
        Some(about) => about == run,
        None => one.first_seen <= until && (one.first_seen >= from || one.until.is_some_and(|end| end >= from)),
    });
    Ok(own
        .map(|one| {
            json!({ "name": one.name, "by": one.by_person, "says": one.says, "gate": one.gate, "check": one.check,
                "rollout": one.rollout, "stage": one.stage, "run": one.run, "object": one.object, "digest": one.digest,
                "note": one.note, "until": one.until, "firstSeen": one.first_seen, "verified": one.verified, "proof": one.proof,
                "source": one.source })
        })
        .collect())
}

async fn troubles(store: &Store, program: &str, (from, until): (Timestamp, Timestamp)) -> Result<Value, StoreError> {
    let all = incidents::list(store, program, Some(from)).await?;
    let own = all.iter().filter(|one| one.started_at <= until);
    Ok(own
        .map(|one| {
            json!({ "name": one.name, "severity": one.severity, "category": one.category, "title": one.title,
                "startedAt": one.started_at, "resolvedAt": one.resolved_at, "acknowledgedAt": one.acknowledged_at,
                "source": one.source, "firstSeen": one.first_seen })
        })
        .collect())
}

/// The minutes of decision calls from that time, as they were written; none that were not.
async fn minutes(store: &Store, program: &str, run: &Value, now: Timestamp) -> Result<Files, StoreError> {
    let (_, from, until) = about(run, now);
    let all = outbox::of_kind(store, program, "minutes", (from, until)).await?;
    let file = |one: outbox::Message| {
        let MessageKind::Minutes { call, body } = serde_json::from_value(one.intent.payload).ok()? else { return None };
        Some((format!("documents/{}", plain(&file_name(&call, &one.intent.effect_key))), body))
    };
    Ok(all.into_iter().filter(|one| one.state == outbox::State::Done).filter_map(file).collect())
}

/// What left, and its receipts. What a message said is not here: notes are templates of the commit, pages name people.
async fn receipts(store: &Store, run: &str) -> Result<Value, StoreError> {
    let sent = outbox::by_prefix(store, &format!("{run}/")).await?;
    Ok(sent
        .iter()
        .map(|one| {
            json!({ "effect": one.intent.effect_key, "kind": one.intent.kind, "state": one.state.as_str(),
                "createdAt": one.created_at, "doneAt": one.done_at, "attempts": one.attempts, "deadline": one.intent.deadline,
                "messageIds": message_ids(one.receipt.as_ref()), "receipt": one.receipt, "lastError": one.last_error })
        })
        .collect())
}

/// The first parts of the Message-IDs that receipts name. They look like addresses, whose first parts are masked: what a mail server's own log is compared
/// with must stay readable.
fn message_ids(receipt: Option<&Value>) -> Vec<&str> {
    let all = match receipt {
        Some(Value::Array(all)) => all.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    all.iter().filter_map(message_id).collect()
}

fn message_id(receipt: &Value) -> Option<&str> {
    let (first, _) = receipt["reference"].as_str()?.strip_prefix('<')?.split_once('@')?;
    first.chars().all(|c| c.is_ascii_hexdigit()).then_some(first)
}

fn pretty<T: Serialize>(value: &T) -> String {
    // Values with string keys: writing them can't fail.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

fn plain(name: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    name.trim_start_matches('.').chars().take(120).map(keep).collect()
}

const README: &str = "The evidence of one rollback.\n\n\
manifest.json   every file with its SHA-256\n\
run.json        the run: its steps, when each came into force and was verified, its episodes\n\
desired.json    the commit that was live, and the documents in force\n\
readings.json   what was measured, from a day before the run on\n\
verdicts.json   the reviews that were sealed, with their inputs\n\
approvals.json  people's words\n\
incidents.json  incidents\n\
effects.json    what steps did to the database once\n\
receipts.json   what left, and what the other side said\n\
documents/      cause documents, minutes of decision calls of that time\n\
chain.jsonl     the audit log from the run's first entry up to the one that names this archive\n\n\
Check it anywhere with: betagate audit verify FILE\n\
The chain's end that it prints is the one that was told when the archive was made; the record itself knows it too.\n";
