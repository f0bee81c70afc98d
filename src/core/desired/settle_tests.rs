#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::error::Position;
use super::super::{BuildOptions, Revision, survey as survey_texts};
use super::*;

type Texts = BTreeMap<String, String>;

fn survey(texts: &Texts) -> Built {
    let options = BuildOptions { environment: None, default_prometheus: false, file_exists: &|_| true };
    let files = texts.iter().map(|(path, text)| (path.as_str(), text.as_str()));
    let (desired, warnings) = survey_texts(files, Revision::default(), &options);
    Built { desired, warnings }
}

fn settled(current: &Texts, accepted: &Texts) -> Settled<String> {
    settle(current, accepted, |one, other| one == other, survey)
}

fn texts<const N: usize>(texts: [(&str, &str); N]) -> Texts {
    texts.map(|(path, text)| (path.to_owned(), text.to_owned())).into()
}

const PROGRAM: (&str, &str) = ("p", "kind: Program\nmetadata: { name: kruxt }\nspec: { timeZone: UTC }");
const FLAG: (&str, &str) = ("f", FLAG_TEXT);
const FLAG_TEXT: &str = "kind: Flag\nmetadata: { name: ml }\nspec: { program: kruxt, type: boolean, variants: { \"on\": true, \"off\": false }, defaultVariant: \"off\", safeVariant: \"off\" }";
const COHORT: (&str, &str) =
    ("c", "kind: Cohort\nmetadata: { name: pavia }\nspec: { program: kruxt, members: { inline: [] } }");
const ROLLOUT: (&str, &str) = (
    "r",
    "kind: Rollout\nmetadata: { name: beta }\nspec: { program: kruxt, stages: [ { name: pilot, cohorts: [pavia], flags: { ml: \"on\" } } ] }",
);

#[test]
fn what_names_something_missing_waits_and_the_others_go_on() {
    let current = texts([PROGRAM, COHORT, ROLLOUT]);
    let settled = settled(&current, &Texts::new());
    assert_eq!(settled.standing["p"], Standing::Accepted);
    assert_eq!(settled.standing["c"], Standing::Accepted);
    let Standing::Pending { why, kept: false } = &settled.standing["r"] else { panic!("{:?}", settled.standing) };
    assert!(why.contains("there is no flag 'ml'"), "{why}");
    assert_eq!(settled.documents.keys().collect::<Vec<_>>(), ["c", "p"]);
    assert!(settled.built.desired.programs["kruxt"].cohorts.contains_key("pavia"));
}

#[test]
fn what_is_wrong_with_something_that_is_no_document_ends_in_what_was_accepted() {
    let broken = |texts: &Texts| {
        let mut built = survey(texts);
        built.warnings.push(Problem::new("files/moves.json", Position::START, "", "broken"));
        built
    };
    let documents = texts([PROGRAM, COHORT]);
    for current in [documents.clone(), texts([PROGRAM, COHORT, FLAG])] {
        let settled = settle(&current, &documents, |one, other| one == other, broken);
        assert_eq!(settled.documents, documents);
    }
}

#[test]
fn a_document_that_is_wrong_keeps_what_it_said() {
    let before = texts([PROGRAM, COHORT, FLAG, ROLLOUT]);
    let mut current = before.clone();
    current.insert("f".to_owned(), FLAG_TEXT.replace("defaultVariant: \"off\"", "defaultVariant: maybe"));
    current.insert("d".to_owned(), COHORT.1.replace("pavia", "lyon"));
    let settled = settled(&current, &before);
    let Standing::Refused { why, kept: true } = &settled.standing["f"] else { panic!("{:?}", settled.standing) };
    assert!(why.contains("maybe"), "{why}");
    assert!(["p", "c", "r", "d"].iter().all(|path| settled.standing[*path] == Standing::Accepted));
    assert_eq!(settled.documents["f"], FLAG_TEXT);
    assert!(settled.built.desired.programs["kruxt"].cohorts.contains_key("lyon"));
}

#[test]
fn what_is_deleted_while_it_is_named_goes_on_until_it_is_not() {
    let before = texts([PROGRAM, COHORT, FLAG, ROLLOUT]);
    let mut current = before.clone();
    current.remove("f");
    let first = settled(&current, &before);
    let Standing::Lingers(why) = &first.standing["r"] else { panic!("{:?}", first.standing) };
    assert!(why.contains("there is no flag 'ml'"), "{why}");
    assert!(first.documents.contains_key("f"));
    current.insert("r".to_owned(), ROLLOUT.1.replace(", flags: { ml: \"on\" }", ""));
    let second = settled(&current, &first.documents);
    assert_eq!(second.standing["r"], Standing::Accepted);
    assert!(!second.documents.contains_key("f"));
}

#[test]
fn a_change_that_breaks_another_document_is_refused_and_the_other_changes_are_taken() {
    let before = texts([PROGRAM, COHORT, FLAG, ROLLOUT]);
    let mut current = before.clone();
    // The rollout serves a variant that the flag has no more.
    current.insert("f".to_owned(), FLAG_TEXT.replace("\"on\": true", "\"yes\": true"));
    current.insert("d".to_owned(), COHORT.1.replace("pavia", "lyon"));
    let settled = settled(&current, &before);
    let Standing::Refused { why, kept: true } = &settled.standing["f"] else { panic!("{:?}", settled.standing) };
    assert!(why.contains("does not fit"), "{why}");
    assert_eq!(settled.standing["r"], Standing::Accepted);
    assert_eq!(settled.standing["d"], Standing::Accepted);
    assert_eq!(settled.documents["f"], FLAG_TEXT);
}

#[test]
fn addresses_stay_out_of_what_is_said() {
    let invite = "kind: Invite\nmetadata: { name: ada }\nspec: { program: kruxt, cohort: pavia, email: \"a@b@c\" }";
    let settled = settled(&texts([PROGRAM, COHORT, ("i", invite)]), &Texts::new());
    assert!(!format!("{:?}", settled.standing).contains('@'), "{:?}", settled.standing);
}

/// Documents of each path, from right to wrong, and none.
fn any_documents() -> impl Strategy<Value = Texts> {
    let choices: [(&str, Vec<String>); 5] = [
        ("p", vec![PROGRAM.1.to_owned(), "kind: Program\nmetadata: { name: kruxt }\nspec: {}".to_owned()]),
        ("c", vec![COHORT.1.to_owned(), COHORT.1.replace("inline", "csvv"), COHORT.1.replace("kruxt", "other")]),
        ("f", vec![FLAG_TEXT.to_owned(), FLAG_TEXT.replace("\"on\"", "\"yes\""), FLAG_TEXT.replace("boolean", "b")]),
        ("r", vec![ROLLOUT.1.to_owned(), ROLLOUT.1.replace("pavia", "lyon"), ROLLOUT.1.replace("\"on\"", "maybe")]),
        ("g", vec![FLAG_TEXT.to_owned(), FLAG_TEXT.replace("name: ml", "name: other")]),
    ];
    let each = choices.map(|(path, texts)| {
        prop::option::of(prop::sample::select(texts)).prop_map(move |text| text.map(|text| (path.to_owned(), text)))
    });
    each.prop_map(|found| found.into_iter().flatten().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    /// Whatever comes in whatever order: what counts holds together, what holds together counts, and settling again changes nothing.
    #[test]
    fn what_counts_always_holds_together(history in prop::collection::vec(any_documents(), 1..6)) {
        let mut accepted = Texts::new();
        for current in history {
            let first = settled(&current, &accepted);
            prop_assert!(!survey(&first.documents).warnings.iter().any(Problem::is_error));
            if !survey(&current).warnings.iter().any(Problem::is_error) {
                prop_assert_eq!(&first.documents, &current);
            }
            for (path, standing) in &first.standing {
                let counts = first.documents.get(path) == current.get(path);
                prop_assert!(counts || !standing.counts(), "{} {:?}", path, standing);
            }
            let again = settled(&current, &first.documents);
            prop_assert!(!survey(&again.documents).warnings.iter().any(Problem::is_error));
            accepted = first.documents;
        }
    }
}
