#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use serde_json::json;

use super::*;
use crate::desired::error::Problem;

fn library() -> &'static Shape {
    shape("movement_library").unwrap()
}

fn row(id: &str, name: &str) -> String {
    format!(
        "{{ \"movement_id\": \"{id}\", \"name\": \"{name}\", \"category\": \"squat\", \"modalities\": [\"barbell\"] }}"
    )
}

fn problems(text: &str) -> Vec<String> {
    Rows::read("m.json", text.as_bytes(), library()).unwrap_err().iter().map(Problem::to_string).collect()
}

#[test]
fn everything_that_is_wrong_with_a_file_is_told_with_its_line() {
    let text = format!(
        "[\n  {},\n  {{ \"movement_id\": \"b\",\n    \"nam\": \"B\", \"category\": \"\", \"modalities\": [],\n    \"status\": \"published\" }},\n  {}, {},\n  7\n]\n",
        row("a", "A"),
        row("a", "C"),
        row("d", "A"),
    );
    let found = problems(&text);
    let at = |start: &str, said: &str| {
        assert!(found.iter().any(|one| one.starts_with(start) && one.contains(said)), "{start} {said}: {found:#?}");
    };
    at("m.json:4:5: nam: ", "did you mean name?");
    at("m.json:3:3: name: ", "the row has no 'name'");
    at("m.json:4:17: category: ", "is a text of 1 to");
    at("m.json:4:33: modalities: ", "a list of texts");
    at("m.json:5:5: status: ", "not for its file");
    at("m.json:6:5: movement_id: ", "'a' stands in line 2 already");
    at("m.json:6:", "name: 'A' stands in line 2 already");
    at("m.json:7:3: ", "a row is an object");
    assert_eq!(found.len(), 8, "{found:#?}");
}

#[test]
fn a_file_that_is_no_list_of_rows_is_refused_with_its_place() {
    let starts = |text: &str, said: &str| {
        let found = problems(text);
        assert!(found.len() == 1 && found[0].starts_with(said), "{found:?}");
    };
    starts("[\n  { \"movement_id\" 1 }\n]", "m.json:2:19: not readable as JSON: expected `:`");
    starts("{}", "m.json:1:1: a dataset's file is a JSON array of rows");
    starts("[]", "m.json:1:1: the file has no rows");
    starts(&format!("[{}1]", "1,".repeat(MOST_ROWS)), "m.json:1:1: a dataset has at most 10000 rows");
    starts(&" ".repeat(usize::try_from(LARGEST_FILE).unwrap() + 1), "m.json:1:1: a dataset's file has at most 4 MiB");
    let twice = problems("[{ \"name\": \"A\", \"name\": \"B\" }]");
    assert!(twice[0].starts_with("m.json:1:17: name: column 'name' is given twice"), "{twice:?}");
}

#[test]
fn a_digest_is_of_what_the_rows_say_and_not_of_how_they_are_written() {
    let read = |text: String| Rows::read("m.json", text.as_bytes(), library()).unwrap();
    let one = read(format!("[{},{}]", row("a", "A"), row("b", "B")));
    let other = read(format!("[\n\t{},\n\t{}\n]", row("b", "B"), row("a", "A")));
    assert_eq!(one.digest, other.digest);
    assert_ne!(one.digest, read(format!("[{},{}]", row("a", "A"), row("b", "C"))).digest);
    assert_eq!(
        one.rows[0].values,
        *json!({ "name": "A", "category": "squat", "modalities": ["barbell"] }).as_object().unwrap()
    );
}

#[test]
fn a_difference_imports_updates_publishes_and_takes_away_only_what_a_dataset_brought() {
    let wanted =
        Rows::read("m.json", format!("[{},{},{}]", row("a", "A"), row("b", "B"), row("c", "C")).as_bytes(), library());
    let wanted = wanted.unwrap();
    let live = |key: &str, name: &str, status: &str, brought: bool| LiveRow {
        key: key.to_owned(),
        values: json!({ "name": name, "category": "squat", "modalities": ["barbell"] }).as_object().unwrap().clone(),
        status: status.to_owned(),
        staged: brought.then(|| "digest".to_owned()),
    };
    let there = [
        live("a", "A", "published", true),
        live("b", "old", "draft", true),
        live("mine", "mine", "published", false),
        live("gone", "gone", "published", true),
    ];
    let found = Difference::between(&wanted, &there);
    let keys = |rows: &[Row]| rows.iter().map(|row| row.key.clone()).collect::<Vec<_>>();
    assert_eq!((keys(&found.imports), keys(&found.updates)), (vec!["c".to_owned()], vec!["b".to_owned()]));
    assert_eq!(found.publishes, ["b", "c"]);
    assert_eq!(found.removes.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["gone"]);
    assert_eq!(found.told("d").first, ["+ c", "~ b", "- gone"]);
    let rows = wanted.rows.iter().map(|row| LiveRow {
        key: row.key.clone(),
        values: row.values.clone(),
        status: PUBLISHED.to_owned(),
        staged: Some(row.digest()),
    });
    let rows: Vec<_> = rows.collect();
    assert!(Difference::between(&wanted, &rows).is_empty() && rows.iter().all(LiveRow::is_sound));
    assert!(!there[0].is_sound());
}

#[test]
fn an_expectation_that_is_not_met_is_told_by_name() {
    let expect = [("published".to_owned(), 8), ("draft".to_owned(), 0)].into();
    assert!(unmet(&expect, &[("published".to_owned(), 8)].into()).is_empty());
    let missed = unmet(&expect, &[("published".to_owned(), 7), ("draft".to_owned(), 1)].into());
    assert_eq!(missed, ["draft: 1 of the 0 expected", "published: 7 of the 8 expected"]);
}
