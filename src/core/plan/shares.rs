//! Percentages before and after a change: which variants grow, and whether growing takes anyone away.
//!
//! Exact, not sampled: a share is an interval of the hash, and both generations of bucketing cut it the same way.
//!
//! Must not know: people, how a plan is shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// All values of the hash.
const HASHES: u64 = 1 << 32;
/// Rules nested deeper are refused anyway.
const MAX_DEPTH: usize = 100;

/// What a change does to one percentage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShareChange {
    /// Where the percentage stands in the definition, as a JSON pointer.
    pub pointer: String,
    /// Something else is hashed now, or otherwise: who had which variant says nothing of who will have it.
    #[serde(default)]
    pub anew: bool,
    /// The variants whose share changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<VariantShare>,
}

/// One variant's share, in per cent of everyone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VariantShare {
    /// Its name, or the rule that gives it.
    pub variant: String,
    /// Before.
    pub before: f64,
    /// After.
    pub after: f64,
    /// How many had it and lose it.
    pub lose: f64,
}

/// A percentage as it is written, its weights plain numbers.
#[derive(Debug, PartialEq)]
struct Percentage<'v> {
    by: Option<&'v Value>,
    shares: Vec<(String, u64)>,
}

/// Compares the percentages that stand in the same places of two definitions.
pub fn share_changes(before: &Value, after: &Value) -> Vec<ShareChange> {
    let (old, new) = (percentages(before), percentages(after));
    // What is hashed without a bucket-by of the rule's own.
    let seed = |flag: &Value| flag["bucketSeed"].as_str().map(str::to_owned);
    let generation = |flag: &Value| flag["bucketing"].as_str().unwrap_or("concat").to_owned();
    let mut changes = Vec::new();
    for (pointer, after_shares) in &new {
        let Some(before_shares) = old.get(pointer) else { continue };
        let anew = before_shares.by != after_shares.by
            || generation(before) != generation(after)
            || (after_shares.by.is_none() && seed(before) != seed(after));
        let variants = variant_shares(&before_shares.shares, &after_shares.shares, anew);
        if anew || !variants.is_empty() {
            changes.push(ShareChange { pointer: pointer.clone(), anew, variants });
        }
    }
    changes
}

fn percentages(flag: &Value) -> BTreeMap<String, Percentage<'_>> {
    let mut found = BTreeMap::new();
    for field in ["targeting", "schedule", "$evaluators"] {
        search(&flag[field], &format!("/{field}"), 0, &mut found);
    }
    found
}

fn search<'v>(rule: &'v Value, pointer: &str, depth: usize, found: &mut BTreeMap<String, Percentage<'v>>) {
    if depth > MAX_DEPTH {
        return;
    }
    match rule {
        Value::Object(fields) => {
            if let Some(percentage) = percentage(fields) {
                found.insert(pointer.to_owned(), percentage);
            }
            for (word, operand) in fields {
                let word = word.replace('~', "~0").replace('/', "~1");
                search(operand, &format!("{pointer}/{word}"), depth + 1, found);
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                search(item, &format!("{pointer}/{place}"), depth + 1, found);
            }
        }
        _ => {}
    }
}

/// A percentage with plain weights; computed ones are nobody's to know before they are evaluated.
fn percentage(fields: &Map<String, Value>) -> Option<Percentage<'_>> {
    let parts = fields.get("fractional").filter(|_| fields.len() == 1)?.as_array()?;
    let by = parts.first().filter(|first| !first.is_array());
    let mut shares = Vec::new();
    for part in &parts[usize::from(by.is_some())..] {
        let part = part.as_array()?;
        let variant = part.first()?;
        let weight = part.get(1).map_or(Some(1), |weight| weight.as_i64())?;
        let variant = variant.as_str().map_or_else(|| variant.to_string(), str::to_owned);
        shares.push((variant, u64::try_from(weight).unwrap_or(0)));
    }
    Some(Percentage { by, shares })
}

/// The first hash of each share, in order; none where there is nothing to share.
fn starts(shares: &[(String, u64)]) -> Vec<(u64, &str)> {
    let total: u64 = shares.iter().map(|(_, weight)| weight).sum();
    let mut from = 0_u64;
    let mut starts = Vec::new();
    for (variant, weight) in shares.iter().filter(|(_, weight)| *weight > 0) {
        // The bucket is `hash × total >> 32`: the first hash of a bucket is that number the other way round, rounded up.
        let first = (u128::from(from) * u128::from(HASHES)).div_ceil(u128::from(total));
        starts.push((u64::try_from(first).unwrap_or(HASHES), variant.as_str()));
        from += weight;
    }
    starts
}

fn variant_shares(before: &[(String, u64)], after: &[(String, u64)], anew: bool) -> Vec<VariantShare> {
    let (old, new) = (starts(before), starts(after));
    let mut cuts: Vec<u64> = old.iter().chain(&new).map(|(first, _)| *first).chain([HASHES]).collect();
    cuts.sort_unstable();
    cuts.dedup();
    let at = |starts: &[(u64, &str)], hash: u64| {
        starts.iter().take_while(|(first, _)| *first <= hash).last().map(|(_, variant)| (*variant).to_owned())
    };
    // Before, after, and lost hashes of each variant.
    let mut sizes: BTreeMap<String, [u64; 3]> = BTreeMap::new();
    for cut in cuts.windows(2) {
        let (had, has) = (at(&old, cut[0]), at(&new, cut[0]));
        let size = cut[1] - cut[0];
        if let Some(had) = &had {
            let sizes = sizes.entry(had.clone()).or_default();
            sizes[0] += size;
            sizes[2] += if anew || Some(had) != has.as_ref() { size } else { 0 };
        }
        if let Some(has) = has {
            sizes.entry(has).or_default()[1] += size;
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "at most 2^32")]
    let percent = |size: u64| size as f64 * 100.0 / HASHES as f64;
    let changed = sizes.into_iter().filter(|(_, [before, after, lost])| before != after || *lost > 0);
    // Those who had a variant and are picked anew may get it again: how many lose it is not known.
    changed
        .filter(|(_, [before, after, _])| !anew || before != after)
        .map(|(variant, [before, after, lost])| VariantShare {
            variant,
            before: percent(before),
            after: percent(after),
            lose: if anew { 0.0 } else { percent(lost) },
        })
        .collect()
}

#[cfg(test)]
#[path = "shares_tests.rs"]
mod tests;
