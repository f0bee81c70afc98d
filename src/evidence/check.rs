//! Whether an archive fits together, without the record: what doesn't is named.
//!
//! Must not know: databases, files.

use std::collections::BTreeSet;

use betagate_core::decide::RunMemory;
use jiff::Timestamp;
use serde_json::Value;

use super::{CHAIN, FORM, Files, Head, MADE, MANIFEST, Manifest, digest};
use crate::store::audit::{Entry, Kept, hash};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// The run it is about.
    pub run: String,
    /// How many entries of the log were recomputed.
    pub entries: usize,
    /// The chain's end.
    pub head: Option<Head>,
    /// What does not fit, in words; nothing when everything does.
    pub problems: Vec<String>,
}

/// Checks an archive, and that its chain ends where it is said to, if that is said.
pub fn check(files: &Files, head: Option<&str>) -> Checked {
    let mut checked = Checked::default();
    let manifest = manifest(files, &mut checked);
    let chain = chain(files, &mut checked);
    if let Some(manifest) = &manifest {
        checked.run.clone_from(&manifest.run);
        named_in_the_log(files, manifest, &chain, &mut checked);
        run_in_the_log(files, manifest, &chain, &mut checked);
        receipts_of_the_run(files, manifest, &mut checked);
    }
    let end = checked.head.as_ref().map(ToString::to_string);
    if let Some(wanted) = head
        && end.as_deref() != Some(wanted.trim())
    {
        let end = end.unwrap_or_else(|| "nowhere".to_owned());
        checked.problems.push(format!("{CHAIN}: it ends at {end}, and should at {}", wanted.trim()));
    }
    checked
}

fn manifest(files: &Files, checked: &mut Checked) -> Option<Manifest> {
    let problems = &mut checked.problems;
    let Some(text) = files.get(MANIFEST) else {
        problems.push(format!("{MANIFEST} is missing"));
        return None;
    };
    let manifest: Manifest = match serde_json::from_str(text) {
        Ok(manifest) => manifest,
        Err(error) => {
            problems.push(format!("{MANIFEST} can't be read: {error}"));
            return None;
        }
    };
    if manifest.form != FORM {
        problems.push(format!("{MANIFEST}: form {} is not known here", manifest.form));
    }
    for (name, wanted) in &manifest.files {
        match files.get(name) {
            None => problems.push(format!("{name} is missing")),
            Some(text) if digest(text) != *wanted => problems.push(format!("{name} is not what the manifest names")),
            Some(_) => {}
        }
    }
    let known = |name: &&String| manifest.files.contains_key(*name) || [MANIFEST, CHAIN].contains(&name.as_str());
    problems.extend(files.keys().filter(|name| !known(name)).map(|name| format!("{name} is not in the manifest")));
    Some(manifest)
}

/// Recomputes the chain, up to the first entry that does not fit.
fn chain(files: &Files, checked: &mut Checked) -> Vec<Kept> {
    let Some(text) = files.get(CHAIN) else {
        checked.problems.push(format!("{CHAIN} is missing"));
        return Vec::new();
    };
    let mut entries: Vec<Kept> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let wrong = |what: String| format!("{CHAIN} line {}: {what}", number + 1);
        let Some(kept) = serde_json::from_str::<Value>(line).ok().as_ref().and_then(entry) else {
            checked.problems.push(wrong("it is no entry".to_owned()));
            break;
        };
        let (link, prev) = (kept.link.unwrap_or_default(), kept.prev_hash.clone().unwrap_or_default());
        let named = format!("entry {} ({} {})", kept.seq, kept.entry.action, kept.entry.object);
        if let Some(before) = entries.last()
            && (before.link.map(|before| before + 1) != Some(link) || before.hash.as_ref() != Some(&prev))
        {
            checked.problems.push(wrong(format!("{named} does not name the one before it")));
            break;
        }
        if kept.hash.as_ref() != Some(&hash(&prev, link, &kept)) {
            checked.problems.push(wrong(format!("{named} was changed after it had been linked")));
            break;
        }
        entries.push(kept);
    }
    checked.entries = entries.len();
    checked.head = entries.last().and_then(|last| {
        let hash = data_encoding::HEXLOWER.encode(last.hash.as_deref()?);
        Some(Head { link: last.link?, hash })
    });
    entries
}

fn entry(line: &Value) -> Option<Kept> {
    let text = |field: &str| line[field].as_str().map(str::to_owned);
    let bytes = |field: &str| data_encoding::HEXLOWER.decode(line[field].as_str()?.as_bytes()).ok();
    Some(Kept {
        seq: line["seq"].as_i64()?,
        link: Some(line["link"].as_i64()?),
        hash: Some(bytes("hash")?),
        prev_hash: Some(bytes("prev")?),
        entry: Entry {
            at: Timestamp::from_microsecond(line["at"].as_i64()?).ok()?,
            program: text("program")?,
            actor: text("actor")?,
            action: text("action")?,
            object: text("object")?,
            detail: line["detail"].clone(),
        },
    })
}

/// The log's last entry names the manifest.
fn named_in_the_log(files: &Files, manifest: &Manifest, chain: &[Kept], checked: &mut Checked) {
    let wanted = files.get(MANIFEST).map(|text| digest(text)).unwrap_or_default();
    let made = chain.iter().rev().map(|kept| &kept.entry).find(|entry| entry.action == MADE);
    match made {
        None => checked.problems.push(format!("{CHAIN}: no entry names this archive")),
        Some(entry) if entry.detail["manifest"] != wanted || entry.at != manifest.at => {
            checked.problems.push(format!("{MANIFEST} is not the one that the log names"));
        }
        Some(_) => {}
    }
}

/// What the run says of its steps is what the log says.
fn run_in_the_log(files: &Files, manifest: &Manifest, chain: &[Kept], checked: &mut Checked) {
    let run = files.get("run.json").and_then(|text| serde_json::from_str::<RunMemory>(text).ok());
    let Some(run) = run else {
        checked.problems.push("run.json can't be read".to_owned());
        return;
    };
    let object = format!("Rollback/{}", manifest.run);
    let own: Vec<&Entry> = chain.iter().map(|kept| &kept.entry).filter(|entry| entry.object == object).collect();
    let told = |action: &str, step: &str, at: Timestamp| {
        own.iter().any(|entry| entry.action == action && entry.at == at && entry.detail.as_str() == Some(step))
    };
    // A step that a later episode repeated came into force again without a word of its own.
    let once = run.episodes.len() == 1;
    for (place, step) in run.steps.iter().enumerate() {
        let name = format!("step {} {}", place + 1, step.step.name());
        let moments = [
            ("StepInForce", step.in_force_at.filter(|_| once)),
            ("StepVerified", step.verified_at),
            ("StepLifted", step.lifted_at.filter(|_| run.lifted_at.is_some() && step.in_force_at.is_some())),
        ];
        for (action, at) in moments.into_iter().filter_map(|(action, at)| Some((action, at?))) {
            // Holds on reviews are lifted under a name of their own.
            let reopened = action == "StepLifted" && run.reviews_reopened_at == Some(at);
            if !told(action, &name, at) && !reopened {
                checked.problems.push(format!("run.json: the log does not say {action} {name} at {at}"));
            }
        }
    }
    let order: Vec<&str> = own.iter().filter(|e| e.action == "StepInForce").filter_map(|e| e.detail.as_str()).collect();
    let distinct: BTreeSet<&&str> = order.iter().collect();
    let number = |step: &str| step.split(' ').nth(1).and_then(|number| number.parse::<usize>().ok());
    if once && (distinct.len() != order.len() || !order.windows(2).all(|pair| number(pair[0]) < number(pair[1]))) {
        checked.problems.push(format!("{CHAIN}: the steps came into force out of order: {}", order.join(", ")));
    }
}

fn receipts_of_the_run(files: &Files, manifest: &Manifest, checked: &mut Checked) {
    let receipts = files.get("receipts.json").and_then(|text| serde_json::from_str::<Vec<Value>>(text).ok());
    let Some(receipts) = receipts else {
        checked.problems.push("receipts.json can't be read".to_owned());
        return;
    };
    for receipt in receipts {
        let effect = receipt["effect"].as_str().unwrap_or_default();
        if effect.split('/').next() != Some(manifest.run.as_str()) {
            checked.problems.push(format!("receipts.json: {effect} is of another run"));
        }
    }
}
