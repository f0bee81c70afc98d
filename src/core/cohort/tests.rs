//! Lists as people write them: right, wrong, and exported from somewhere odd.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use proptest::prelude::*;

use super::*;

fn check(text: &str) -> ListReport {
    parse_list(text.as_bytes(), &ListOptions::default())
}

fn faults(report: &ListReport) -> Vec<(Option<u64>, Fault)> {
    report.survey.problems.iter().map(|problem| (problem.line, problem.fault.clone())).collect()
}

#[test]
fn a_header_names_the_columns_in_any_order() {
    let report = check(
        "Label,note,EMAIL,locale,role,invited_by\nvip-1,\"met, twice\",Ada@Example.com,it,listener,bo@example.com\n",
    );
    assert_eq!(report.survey.outcome(), Outcome::Clean);
    let row = &report.rows[0];
    assert_eq!((row.line, row.email.as_str(), row.email_norm.as_str()), (2, "Ada@Example.com", "ada@example.com"));
    assert_eq!((row.label.as_str(), row.role.as_str(), row.locale.as_str()), ("vip-1", "listener", "it"));
    assert_eq!((row.invited_by.as_str(), row.note.as_str()), ("bo@example.com", "met, twice"));
}

#[test]
fn without_a_header_the_columns_are_email_label_and_inviter() {
    let report = check("\u{feff}ada@example.com,creator-lyon,bo@example.com\r\nbob@example.com\r\n");
    assert_eq!(report.survey.outcome(), Outcome::Clean);
    assert_eq!((report.rows[0].role.as_str(), report.rows[0].invited_by.as_str()), ("creator", "bo@example.com"));
    assert_eq!((report.rows[1].line, report.rows[1].label.as_str(), report.rows[1].role.as_str()), (2, "", ""));
}

#[test]
fn every_problem_is_named_by_its_line_in_one_run() {
    let report =
        check("email,label\nada@example.com,a\nnot-an-address,b\n\nADA@example.com,c\nx@example.com,d,e\n,f\n");
    assert_eq!(
        faults(&report),
        [
            (Some(3), Fault::Address(AddressFault::At)),
            (Some(5), Fault::Duplicate { first: 2 }),
            (Some(6), Fault::TooManyFields { found: 3, expected: 2 }),
            (Some(7), Fault::Address(AddressFault::Empty)),
        ]
    );
    assert_eq!((report.survey.outcome().exit_code(), report.survey.errors, report.rows.len()), (1, 4, 1));
    assert_eq!(report.survey.problems[1].to_string(), "line 5: the same address as on line 2");
}

#[test]
fn a_header_with_a_wrong_or_missing_column_names_the_nearest() {
    let report = check("emial,label\nada@example.com,a\n");
    let unknown = Fault::UnknownColumn { name: "emial".to_owned(), nearest: Some("email".to_owned()) };
    assert_eq!(faults(&report), [(Some(1), unknown), (Some(1), Fault::NoEmailColumn)]);
    assert!(report.survey.problems[0].to_string().contains("did you mean email?"));
}

#[test]
fn an_empty_list_fails() {
    for text in ["", "\n\n", "email,label\n", "\u{feff}"] {
        assert_eq!(faults(&check(text)), [(None, Fault::Empty)], "{text:?}");
        assert_eq!(check(text).survey.outcome().exit_code(), 1);
    }
}

#[test]
fn too_few_of_anything_and_throw_away_domains_only_warn() {
    let options = ListOptions { needs: Needs::soft_launch(), ..ListOptions::default() };
    let report = parse_list(b"a@example.com,creator-1\nb@mailinator.com,listener-1\n", &options);
    assert_eq!(report.survey.outcome().exit_code(), 2);
    assert_eq!(
        faults(&report),
        [
            (Some(2), Fault::Disposable { domain: "mailinator.com".to_owned() }),
            (None, Fault::FewRows { found: 2, needed: 50 }),
            (None, Fault::FewLabels { found: 2, needed: 3 }),
            (None, Fault::FewOfRole { role: "creator".to_owned(), found: 1, needed: 5 }),
            (None, Fault::FewOfRole { role: "listener".to_owned(), found: 1, needed: 20 }),
        ]
    );
}

#[test]
fn a_list_that_meets_seed_004_is_clean() {
    let mut text = String::from("email,label\n");
    for n in 0..50 {
        let label = match n % 10 {
            0 => "creator-lyon",
            1..5 => "listener-lyon",
            5..9 => "listener-pavia",
            _ => "friend",
        };
        text.push_str(&format!("tester{n}@example.com,{label}\n"));
    }
    let options = ListOptions { needs: Needs::soft_launch(), ..ListOptions::default() };
    let report = parse_list(text.as_bytes(), &options);
    assert_eq!(report.survey.outcome(), Outcome::Clean, "{:?}", report.survey.problems);
    assert_eq!(report.survey.roles["listener"], 40);
}

#[test]
fn problems_without_end_are_counted_and_kept_within_bounds() {
    let report = check(&"broken\n".repeat(5000));
    assert_eq!((report.survey.errors, report.survey.problems.len()), (5000, 1000));
}

#[test]
fn control_characters_reach_no_mail_header() {
    let report = check("email,label\na@example.com,\"x\r\nBcc: y\"\n");
    assert_eq!(faults(&report), [(Some(2), Fault::ControlCharacter("label"))]);
}

#[test]
fn the_digest_covers_every_byte_and_how_it_is_read() {
    let one = check("a@example.com\n").survey.digest;
    assert_eq!(one, check("a@example.com\n").survey.digest);
    assert_ne!(one, check("a@example.com\r\n").survey.digest);
    let rules = AddressRules { ignore_plus: true, ..AddressRules::default() };
    let options = ListOptions { addresses: rules, ..ListOptions::default() };
    assert_ne!(one, parse_list(b"a@example.com\n", &options).survey.digest);
    assert_ne!(check("emial\na@example.com").survey.digest, check("emial\nb@example.com").survey.digest);
}

#[test]
fn one_changed_row_shows_in_one_bucket_whatever_the_order() {
    let lines: Vec<String> = (0..500).map(|n| format!("t{n}@example.com,l-{n}")).collect();
    let before = check(&lines.join("\n")).survey.buckets;
    let mut turned = lines.clone();
    turned.reverse();
    assert_eq!(before.differing(&check(&turned.join("\n")).survey.buckets), Vec::<u8>::new());
    turned[7].push('x');
    assert_eq!(before.differing(&check(&turned.join("\n")).survey.buckets).len(), 1);
    assert!(Buckets::from_bytes(&before.to_bytes()) == Some(before));
    assert!(Buckets::from_bytes(b"short").is_none());
}

#[test]
fn single_rows_are_found_again_by_their_lines() {
    let text = "a@example.com,x\n\nb@example.com,\"y\nz\"\nc@example.com,z\nd@example.com,z\n";
    let at = |text: &str, lines: Vec<u32>| -> Vec<String> {
        let found = rows(text.as_bytes(), AddressRules::default()).only_at(lines);
        found
            .filter_map(|entry| match entry {
                Ok(Entry::Row(row)) => Some(row.email),
                _ => None,
            })
            .collect()
    };
    assert_eq!(at(text, vec![1, 5]), ["a@example.com", "c@example.com"]);
    assert_eq!(at(text, vec![6]), ["d@example.com"]);
    assert_eq!(at(&format!("email,label\n{text}"), vec![2, 7]), ["a@example.com", "d@example.com"]);
    assert!(at(text, vec![]).is_empty());
}

#[test]
fn two_people_who_swap_their_rows_are_seen() {
    let before = check("a@example.com,x\nb@example.com,y\n");
    let after = check("a@example.com,y\nb@example.com,x\n");
    let digests = |report: &ListReport| report.rows.iter().map(ListRow::digest).collect();
    assert_eq!(row_difference(digests(&before), digests(&after)).changed.len(), 2);
    assert!(!before.survey.buckets.differing(&after.survey.buckets).is_empty());
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic_and_every_row_has_an_address(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let report = parse_list(&bytes, &ListOptions::default());
        for row in &report.rows {
            prop_assert!(row.email_norm.contains('@'));
        }
        prop_assert!(report.rows.is_empty() == (report.survey.rows == 0));
        prop_assert!(report.survey.rows > 0 || report.survey.errors > 0);
    }

    #[test]
    fn csv_like_text_keeps_every_line_accounted_for(lines in proptest::collection::vec("[a-c\",@. \r]{0,12}", 0..20)) {
        let text = lines.join("\n");
        let report = check(&text);
        let numbered = report.survey.problems.iter().filter_map(|p| p.line);
        prop_assert!(numbered.chain(report.rows.iter().map(|row| row.line)).all(|line| line >= 1 && line <= lines.len().max(1) as u64));
    }

    #[test]
    fn the_difference_carries_the_old_list_into_the_new(old in proptest::collection::btree_map(0u8..40, 0u8..3, 0..30), new in proptest::collection::btree_map(0u8..40, 0u8..3, 0..30)) {
        let digest = |(person, words): (&u8, &u8)| {
            let mut bytes = [0; 32];
            bytes[3] = *person;
            bytes[20] = *words;
            RowDigest(bytes)
        };
        let found = row_difference(old.iter().map(digest).collect(), new.iter().map(digest).collect());
        let people = |keys: &[[u8; 16]]| keys.iter().map(|key| key[3]).collect::<Vec<_>>();
        prop_assert_eq!(people(&found.added), new.keys().filter(|p| !old.contains_key(p)).copied().collect::<Vec<_>>());
        prop_assert_eq!(people(&found.removed), old.keys().filter(|p| !new.contains_key(p)).copied().collect::<Vec<_>>());
        prop_assert_eq!(people(&found.changed), new.iter().filter(|(p, w)| old.get(p).is_some_and(|o| o != *w)).map(|(p, _)| *p).collect::<Vec<_>>());
    }
}
