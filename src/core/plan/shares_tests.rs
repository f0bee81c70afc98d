#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::flags::{Context, FlagSet, Membership};

fn flag(shares: Value) -> Value {
    json!({ "variants": { "on": true, "off": false, "c": true }, "defaultVariant": "off", "targeting": { "if": [{ "var": "x" }, null, { "fractional": shares }] } })
}

fn told(before: Value, after: Value) -> Vec<(String, f64, f64, f64)> {
    let changes = share_changes(&flag(before), &flag(after));
    assert!(changes.iter().all(|change| change.pointer == "/targeting/if/2" && !change.anew));
    changes
        .into_iter()
        .flat_map(|change| change.variants)
        .map(|one| (one.variant, one.before, one.after, one.lose))
        .collect()
}

#[test]
fn ramping_up_takes_nobody_away_and_giving_from_the_front_does() {
    let row = |variant: &str, before, after, lose| (variant.to_owned(), before, after, lose);
    assert_eq!(
        told(json!([["on", 25], ["off", 75]]), json!([["on", 50], ["off", 50]])),
        [row("off", 75.0, 50.0, 25.0), row("on", 25.0, 50.0, 0.0)]
    );
    // The same in other numbers is no change.
    assert_eq!(told(json!([["on", 1], ["off", 3]]), json!([["on", 25], ["off", 75]])), []);
    // Turned round: the share is the same, the people are not.
    assert_eq!(
        told(json!([["on", 1], ["off", 1]]), json!([["off", 1], ["on", 1]])),
        [row("off", 50.0, 50.0, 50.0), row("on", 50.0, 50.0, 50.0)]
    );
    // One in the middle grows, and pushes the one behind it away from where it was.
    assert_eq!(
        told(json!([["on", 1], ["c", 1], ["off", 2]]), json!([["on", 2], ["c", 1], ["off", 1]])),
        [row("c", 25.0, 25.0, 25.0), row("off", 50.0, 25.0, 25.0), row("on", 25.0, 50.0, 0.0)]
    );
}

#[test]
fn another_hash_picks_anew_and_what_is_computed_is_not_guessed() {
    let (mut before, after) = (flag(json!([["on", 25], ["off", 75]])), flag(json!([["on", 50], ["off", 50]])));
    before["bucketSeed"] = json!("pavia");
    assert!(share_changes(&before, &after)[0].anew);
    before["bucketSeed"] = Value::Null;
    before["bucketing"] = json!("cbor");
    assert!(share_changes(&before, &after)[0].anew);
    let by = |field: &str| flag(json!([{ "var": field }, ["on", 25], ["off", 75]]));
    assert!(share_changes(&by("team"), &by("email"))[0].anew);
    assert_eq!(share_changes(&by("team"), &by("team")), []);
    let computed = flag(json!([["on", { "var": "w" }], ["off", 75]]));
    assert_eq!(share_changes(&computed, &after), []);
    assert_eq!(share_changes(&flag(json!([["on", 0]])), &flag(json!([["on", 0]]))), []);
}

proptest! {
    #[test]
    fn what_is_said_of_shares_is_what_evaluation_does(before in prop::collection::vec(0..6_i64, 3), after in prop::collection::vec(0..6_i64, 3)) {
        let of = |weights: &[i64]| flag(json!([["on", weights[0]], ["c", weights[1]], ["off", weights[2]]]));
        let (old, new) = (of(&before), of(&after));
        let changes = share_changes(&old, &new);
        let ((old, _), (new, _)) = (FlagSet::compile([("f", &old)], &|_| None), FlagSet::compile([("f", &new)], &|_| None));
        if before.iter().sum::<i64>() > 0 && after.iter().sum::<i64>() > 0 {
            let mut lost: BTreeMap<String, u32> = BTreeMap::new();
            for person in 0..400 {
                let context = Context::new(json!({ "targetingKey": format!("u{person}") })).unwrap();
                let ask = |set: &FlagSet| set.evaluate("f", &context, &Membership::default(), Timestamp::UNIX_EPOCH).unwrap().variant.to_owned();
                if ask(&old) != ask(&new) {
                    *lost.entry(ask(&old)).or_default() += 1;
                }
            }
            let said: BTreeMap<&str, f64> = changes.iter().flat_map(|change| &change.variants).map(|one| (one.variant.as_str(), one.lose)).collect();
            for variant in ["on", "c", "off"] {
                let (said, lost) = (said.get(variant).copied().unwrap_or_default(), f64::from(lost.get(variant).copied().unwrap_or_default()));
                prop_assert!(said > 0.0 || lost == 0.0, "{variant}: nobody should lose it, and {lost} of 400 do");
                prop_assert!((said * 4.0 - lost).abs() < 50.0, "{variant}: {said} % said, {lost} of 400 found");
            }
        }
    }
}
