#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use proptest::prelude::*;

use super::*;
use crate::desired::error::Position;

fn person(change: Change, address: &str, label: &str, line: u64) -> PersonChange {
    PersonChange { change, address: address.to_owned(), label: label.to_owned(), role: String::new(), line }
}

fn list(label: &str) -> ListChange {
    ListChange {
        cohort: "pavia".to_owned(),
        change: Change::Changed,
        file: Some("pavia.csv".to_owned()),
        rows_before: 60,
        rows: 1_000_040,
        added: 1_000_000,
        removed: 20,
        changed: 0,
        first: (0..20).map(|line| person(Change::Added, "ada@example.com", label, line)).collect(),
        warnings: vec!["line 3: mailinator.com is a throw-away mail service".to_owned()],
        more_warnings: 2,
        capacity: Some(500),
        opens: Vec::new(),
        mails: None,
        waits: vec![Waits {
            reasons: vec!["3 warnings of its list".to_owned()],
            digest: "ab".repeat(32),
            of_list: true,
        }],
        change_digest: String::new(),
    }
}

fn pull(lists: usize, label: &str) -> Pull {
    let program = ProgramPull {
        program: "kruxt".to_owned(),
        change: Change::Changed,
        lists: (0..lists).map(|_| list(label)).collect(),
        invites: 0,
        documents: Vec::new(),
        templates: Vec::new(),
        asks: Vec::new(),
    };
    Pull { base: "0".repeat(8), head: "1".repeat(8), programs: vec![program], ..Pull::default() }
}

#[test]
fn the_headline_says_all_of_it_in_a_line() {
    let mut one = pull(1, "");
    assert_eq!(one.headline(), "+1,000,000 people, -20 people");
    let kind = AskKind::Acknowledge { object: "Cohort/pavia".to_owned(), digest: "ab".to_owned() };
    one.programs[0].asks.push(Ask { kind, why: String::new(), who: Vec::new(), given_by: Vec::new() });
    assert_eq!(one.headline(), "waits for 1 acknowledgement: +1,000,000 people, -20 people");
    assert_eq!(one.standing(), Standing::Waits);
    one.programs[0].asks[0].given_by.push("founder".to_owned());
    assert_eq!(one.standing(), Standing::Ready);
    one.problems.push(Problem::new("a.yaml", Position::START, "", "broken"));
    assert_eq!(one.headline(), "1 problem to mend: nothing of this would be applied");
    assert_eq!(Pull::default().headline(), "nothing changes");
}

#[test]
fn no_serialised_fact_holds_an_address() {
    let json = serde_json::to_string(&pull(1, "x")).unwrap();
    assert!(json.contains("a…@example.com") && !json.contains("ada@"), "{json}");
}

#[test]
fn a_long_one_is_told_in_fewer_words_and_fits() {
    for lists in [1, 50, 300, 5000] {
        let text = markdown(&pull(lists, "creator-lyon"), 65_536);
        assert!(text.len() <= 65_536 && text.contains("+1,000,000"), "{lists}");
        assert_eq!(text.matches("<details>").count(), text.matches("</details>").count(), "{lists}");
        assert_eq!(text.contains("the short form"), lists > 50, "{lists}");
    }
    let tiny = markdown(&pull(5000, ""), 400);
    assert!(tiny.len() <= 400 && tiny.ends_with("longer than a comment may be.\n"), "{tiny}");
}

proptest! {
    #[test]
    fn foreign_text_closes_no_fold_and_leaves_no_table(label in "[a-z`|<>/\\\\@#*~\\-\u{202e}\n ]{0,40}", message in "\\PC{0,60}") {
        let mut one = pull(1, &label);
        one.problems.push(Problem::new(&label, Position::START, label.clone(), message).warning());
        let text = markdown(&one, 65_536);
        prop_assert!(!text.contains('\u{202e}'), "{}", text);
        let mut fenced = false;
        for line in text.lines() {
            if line.starts_with("```") {
                fenced = !fenced;
            } else if !fenced {
                // What is not ours never stands bare: outside code, no tag but ours.
                let ours = line.replace("<details><summary>", "").replace("</summary>", "").replace("</details>", "").replace("<br>", "");
                let bare: String = without_code(&ours);
                prop_assert!(!bare.contains('<'), "{}", line);
                if line.starts_with("| `") {
                    prop_assert!(line.ends_with(" |"), "{}", line);
                }
            }
        }
        prop_assert!(!fenced, "{}", text);
    }
}

/// A line without its code spans.
fn without_code(line: &str) -> String {
    let (mut told, mut rest) = (String::new(), line);
    while let Some(start) = rest.find('`') {
        // An escaped tick opens nothing.
        if rest[..start].ends_with('\\') {
            told.push_str(&rest[..=start]);
            rest = &rest[start + 1..];
            continue;
        }
        told.push_str(&rest[..start]);
        let ticks: String = rest[start..].chars().take_while(|c| *c == '`').collect();
        let inner = &rest[start + ticks.len()..];
        let Some(end) = inner.find(&ticks) else { return told + inner };
        rest = &inner[end + ticks.len()..];
    }
    told + rest
}
