//! A list from elsewhere becomes a cohort's list with one command, its lines named as they were given; what it can't say is refused, and then
//! nothing is written.

use crate::support::{Betagate, Outcome, TestRepo};

fn repo() -> TestRepo {
    let repo = TestRepo::empty();
    repo.write(
        "manifests/program.yaml",
        "apiVersion: betagate.dev/v1alpha1\nkind: Program\nmetadata: { name: kruxt }\nspec: { timeZone: Europe/Rome, addresses: { ignorePlus: true } }\n",
    );
    repo
}

fn import(repo: &TestRepo, list: impl AsRef<[u8]>, words: &[&str]) -> Outcome {
    std::fs::write(repo.path().join("guests.csv"), list).unwrap();
    Betagate::new(["import", "csv", "guests.csv", "--cohort", "pavia"].iter().chain(words)).within(repo.path()).run()
}

#[test]
fn a_list_with_other_columns_becomes_a_cohort_that_validates() {
    let repo = repo();
    let list = "E-Mail;Group;Name;Phone;Invited by\r\nada@example.com;creator-lyon;\"Ada; \"\"the first\"\"\";1;host@example.com\r\n;;;;\r\nbob@example.com;listener-lyon;Bob, too;2;\r\n";
    let done = import(&repo, list, &["--map", "note=Name", "--drop", "phone"]).expect_code(0);
    assert!(done.stdout.contains("2 row(s) in ./cohorts/pavia.csv, and ./cohorts/pavia.yaml"), "{}", done.stdout);
    let wanted = "email,label,invited_by,note\nada@example.com,creator-lyon,host@example.com,\"Ada; \"\"the first\"\"\"\nbob@example.com,listener-lyon,,\"Bob, too\"\n";
    assert_eq!(repo.read("cohorts/pavia.csv"), wanted);
    Betagate::new(["validate"]).within(repo.path()).run().expect_code(0);
    Betagate::new(["validate", "--cohort", "pavia"]).within(repo.path()).run().expect_code(0);
    // What is there is not written over unasked; then it goes where the cohort's document says.
    let refused = import(&repo, "email\neve@example.com\n", &[]).expect_code(1);
    assert!(refused.stderr.contains("--replace"), "{}", refused.stderr);
    assert_eq!(repo.read("cohorts/pavia.csv"), wanted);
    repo.write("cohorts/lists/people.csv", "");
    repo.replace("cohorts/pavia.yaml", "csv: pavia.csv", "csv: lists/people.csv");
    import(&repo, "email\neve@example.com\n", &["--replace", "--label", "friend"]).expect_code(0);
    assert_eq!(repo.read("cohorts/lists/people.csv"), "email,label\neve@example.com,friend\n");
}

#[test]
fn what_a_list_cannot_say_is_refused_all_at_once_and_nothing_is_written() {
    let repo = repo();
    let list = "Contact,Name,Notes,Comment\nada@example.com,Ada,x,y\n";
    let told = import(&repo, list, &["--map", "email=Contakt"]).expect_code(1).stderr;
    for words in [
        "there is no column 'Contakt' (did you mean 'Contact'?)",
        "no place for column 'Contact'",
        "no place for column 'Name': --map note=\"Name\", or --drop \"Name\"",
        "two columns are the note",
        "no column holds the addresses",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    // By the lines of the list that was given, whatever ours look like.
    let list = "Email\tNotes\n\nada@example.com\t\"two\nlines\"\n\nnobody\tx\nADA+beta@example.com\ty\n";
    let told = import(&repo, list, &[]).expect_code(1).stderr;
    assert!(told.contains("guests.csv:6: an address has exactly one @"), "{told}");
    assert!(told.contains("guests.csv:7: the same address as on line 3"), "{told}");
    assert!(!repo.path().join("cohorts").exists());
    let told = import(&repo, "email\n", &["--program", "kruxd"]).expect_code(1).stderr;
    assert!(told.contains("did you mean kruxt?"), "{told}");
    import(&repo, "email\n", &["--map", "emial=x"]).expect_code(64);
}

#[test]
fn what_a_spreadsheet_saves_is_read_in_its_encoding() {
    let text = "E-mail,Remarks\r\nada@example.com,Andr\u{e9}\r\n";
    let utf16: Vec<u8> = std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let latin1: Vec<u8> = text.chars().map(|c| u8::try_from(c).unwrap()).collect();
    let marked = [b"\xef\xbb\xbf", text.as_bytes()].concat();
    for (bytes, words) in [(utf16, &[][..]), (latin1.clone(), &["--latin1"]), (marked, &[])] {
        let repo = repo();
        import(&repo, bytes, words).expect_code(0);
        assert_eq!(repo.read("cohorts/pavia.csv"), "email,note\nada@example.com,Andr\u{e9}\n");
    }
    let told = import(&repo(), latin1, &[]).expect_code(1).stderr;
    assert!(told.contains("--latin1"), "{told}");
}
