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
    let unknown = Fault::UnknownColumn { name: "emial".to_owned(), first: "email", nearest: Some("email".to_owned()) };
    assert_eq!(faults(&report), [(Some(1), unknown), (Some(1), Fault::NoEmailColumn)]);
    assert!(report.survey.problems[0].to_string().contains("did you mean email?"));
}

#[test]
fn a_list_exported_in_another_form_is_refused_once_in_clear_words() {
    let utf16 = |text: &str, mark: bool| -> Vec<u8> {
        let mark = if mark { Some(0xfeff) } else { None };
        mark.into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
    };
    let text = "email,label\r\nada@example.com,x\r\nbob@example.com,y\r\n";
    for bytes in [utf16(text, true), utf16(text, false), utf16("ada@example.com,x\nbob@example.com,y\n", true)] {
        let report = parse_list(&bytes, &ListOptions::default());
        assert_eq!(faults(&report), [(Some(1), Fault::Utf16)]);
        let big: Vec<u8> = bytes.chunks(2).flat_map(|pair| [pair[1], pair[0]]).collect();
        assert_eq!(faults(&parse_list(&big, &ListOptions::default())), [(Some(1), Fault::Utf16)]);
    }
    for (text, found) in [
        ("email;label\nada@example.com;x\n", ';'),
        ("ada@example.com;x\n", ';'),
        ("email\tlabel\nada@example.com\tx\n", '\t'),
    ] {
        assert_eq!(faults(&check(text)), [(Some(1), Fault::Separator { found })], "{text}");
    }
    assert_eq!(check("a|b@example.com\nc@example.com\n").survey.outcome(), Outcome::Clean);
    for text in ["email,label\rada@example.com,x\r", "ada@example.com,x\rbob@example.com,y\r"] {
        assert_eq!(faults(&check(text)), [(Some(1), Fault::CarriageReturns)], "{text:?}");
    }
    // Latin-1, line by line: whoever has one such name sees which.
    let report = parse_list(b"email,note\nada@example.com,Andr\xe9\nbob@example.com,Bob\n", &ListOptions::default());
    assert_eq!(faults(&report), [(Some(2), Fault::NotUtf8)]);
    assert!(report.survey.problems[0].to_string().contains("Latin-1"));
    assert_eq!(
        faults(&check("email,note\nada@example.com,a\0b\nbo\0b@example.com,\n")),
        [(Some(2), Fault::Nul), (Some(3), Fault::Nul)]
    );
}

#[test]
fn fields_of_any_length_and_quotes_of_any_kind_are_bounded() {
    let long = "x".repeat(100_000);
    let text = format!(
        "email,note\na@example.com,{long}\nb@example.com,\"{long}\"\nc@example.com,{}\nd@example.com,ok\n",
        &long[..3000]
    );
    let wanted = [(Some(2), Fault::LineTooLong), (Some(3), Fault::LineTooLong), (Some(4), Fault::FieldTooLong("note"))];
    assert_eq!(faults(&check(&text)), wanted);
    let quoted = check(
        "email,note\na@example.com,\"one, two\r\nthree \"\"four\"\"\"\nb@example.com,\"\"\n\"c@example.com\",x\n",
    );
    assert_eq!(quoted.survey.outcome(), Outcome::Clean, "{:?}", quoted.survey.problems);
    assert_eq!(quoted.rows[0].note, "one, two\r\nthree \"four\"");
    assert_eq!(quoted.rows.iter().map(|row| row.line).collect::<Vec<_>>(), [2, 4, 5]);
    let open = check("email,note\na@example.com,\"never closed\nb@example.com,x\n");
    assert_eq!(faults(&open), [(Some(2), Fault::UnclosedQuote)]);
}

#[test]
fn someone_on_two_lists_is_named_on_both_with_the_others_line() {
    let (pavia, lyon) = (
        check("a@example.com\nb@example.com\nc@example.com\n"),
        check("email\nC@example.com\nd@example.com\nA@Example.com\n"),
    );
    let mut survey = pavia.survey.clone();
    survey.find_elsewhere(&lyon.survey, "lyon", false, |line| format!("cohorts/lyon.csv:{line}"));
    let words: Vec<String> = survey.problems.iter().map(ToString::to_string).collect();
    let said = |line, other| format!("line {line}: the same person is in cohort lyon (cohorts/lyon.csv:{other})");
    assert_eq!(words, [said(1, 4), said(3, 2)]);
    assert_eq!((survey.outcome(), survey.warnings), (Outcome::NeedsAcknowledgement, 2));
    let mut survey = lyon.survey;
    survey.find_elsewhere(&pavia.survey, "pavia", true, |line| format!("{line}"));
    assert_eq!((survey.outcome(), survey.errors), (Outcome::Broken, 2));
}

#[test]
fn a_list_of_keyed_hashes_has_hashes_and_nothing_else() {
    let options = ListOptions { read_as: ReadAs { hashed: true, ..ReadAs::default() }, ..ListOptions::default() };
    let check = |text: &str| parse_list(text.as_bytes(), &options);
    let hash = |n: u8| hash_text("0a1b2c3d", &[n; 32]);
    let report = check(&format!("hash,label,role\n{},creator-lyon,\n{},vip,listener\n", hash(1), hash(2)));
    assert_eq!(report.survey.outcome(), Outcome::Clean, "{:?}", report.survey.problems);
    assert_eq!((report.rows[0].email.as_str(), report.rows[0].email_norm.as_str()), ("", hash_norm(&[1; 32]).as_str()));
    assert_eq!(report.survey.keys.iter().collect::<Vec<_>>(), ["0a1b2c3d"]);
    // Without a header: hash, label, inviter.
    let report = check(&format!("{},creator-lyon,bo\n{}\n{},x\n", hash(1), hash(2), hash(1).to_uppercase()));
    assert_eq!(faults(&report), [(Some(3), Fault::Duplicate { first: 1 })]);
    assert_eq!(faults(&check("ada@example.com,x\n")), [(Some(1), Fault::NotHash)]);
    let unknown = Fault::UnknownColumn { name: "email".to_owned(), first: "hash", nearest: None };
    assert_eq!(
        faults(&check("email,label\nada@example.com,x\n")),
        [(Some(1), unknown), (Some(1), Fault::NoHashColumn)]
    );
    // The same bytes read as addresses are another list.
    let bytes = format!("{}\n", hash(1));
    assert_ne!(check(&bytes).survey.digest, parse_list(bytes.as_bytes(), &ListOptions::default()).survey.digest);
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
    let options = ListOptions { read_as: rules.into(), ..ListOptions::default() };
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
