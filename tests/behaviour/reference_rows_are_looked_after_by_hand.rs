//! `betagate dataset` against a database of its own: the commands by which seed 003 seeds, verifies and takes back its movement library.

use serde_json::Value;

use crate::support::{Betagate, Outcome, TestDb, databases, repository_root};

const FILE: &str = "manifests/coach/movements.json";

fn dataset(db: &TestDb, words: &str) -> Outcome {
    let words = ["dataset"].into_iter().chain(words.split(' ')).chain(["--dsn", &db.url]);
    Betagate::new(words).within(repository_root()).run()
}

fn json(outcome: Outcome) -> Value {
    serde_json::from_str(&outcome.expect_code(0).stdout).unwrap()
}

#[test]
fn reference_rows_are_looked_after_by_hand() {
    for db in databases() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let early = dataset(&db, "publish").expect_code(1);
        assert!(early.stderr.contains("betagate migrate"), "{}: {}", db.name, early.stderr);
        Betagate::new(["migrate", "--database", &db.url, "--data", &at("data")]).run().expect_code(0);

        // Imported as drafts, published; a second time changes nothing.
        let said = dataset(&db, &format!("import movement-library --file {FILE}")).expect_code(0).stdout;
        assert_eq!(said.trim(), "Movement import: 8 imported, 0 updated; 8 draft", "{}", db.name);
        assert!(dataset(&db, "publish --expect 8").expect_code(0).stdout.contains("8 published now; 8 published"));
        // Without a file: the one that the documents of the folder name.
        let again = json(dataset(&db, "import movement-library -o json"));
        assert_eq!((again["imported"].as_u64(), again["counts"]["published"].as_u64()), (Some(0), Some(8)));
        let more = dataset(&db, "publish --expect 9").expect_code(2);
        assert!(more.stderr.contains("9 published rows were expected, and there are 8"), "{}", more.stderr);

        // Whatever is taken away is kept first, and comes back: from a file, or the newest that was kept.
        let dump = at("movements.dump.json");
        dataset(&db, &format!("dump movement-library --file {dump}")).expect_code(0);
        dataset(&db, &format!("dump movement-library --file {dump}")).expect_code(1);
        assert!(dataset(&db, "truncate movement-library").expect_code(0).stdout.contains("kept as dump "));
        assert!(json(dataset(&db, "publish -o json"))["counts"].as_object().unwrap().is_empty());
        let back = json(dataset(&db, "restore -o json"));
        assert_eq!(back["counts"]["published"], 8);
        let bad = std::fs::read_to_string(repository_root().join(FILE)).unwrap().replace("Ring Row", "Rung Row");
        std::fs::write(at("bad.json"), bad).unwrap();
        assert_eq!(json(dataset(&db, &format!("import --file {} -o json", at("bad.json"))))["updated"], 1);
        assert!(dataset(&db, "dump").expect_code(0).stdout.contains("Rung Row"));
        let restored = dataset(&db, &format!("restore --file {dump}")).expect_code(0).stdout;
        assert_eq!(restored.trim(), "movement_library: 8 published");
        let now: Value = serde_json::from_str(&dataset(&db, "dump").expect_code(0).stdout).unwrap();
        let then: Value = serde_json::from_str(&std::fs::read_to_string(&dump).unwrap()).unwrap();
        assert_eq!(now, then, "all three tables are what they were");
        let kept = json(dataset(&db, "dump --list -o json"));
        let reasons: Vec<&str> = kept.as_array().unwrap().iter().map(|dump| dump["reason"].as_str().unwrap()).collect();
        assert_eq!(
            reasons,
            ["before a dump was put back", "before its rows changed", "before it was undone: truncate"]
        );

        // What is wrong is said, and changes nothing.
        std::fs::write(at("twice.json"), "[\n{ \"movement_id\": \"a\", \"nam\": \"A\" } ]").unwrap();
        let refused = dataset(&db, &format!("import --file {}", at("twice.json"))).expect_code(1).stderr;
        assert!(refused.contains("twice.json:2:23: nam: table movement_library has no column 'nam'"), "{refused}");
        assert!(
            dataset(&db, "publish movement-librari").expect_code(1).stderr.contains("did you mean movement_library?")
        );
        assert!(dataset(&db, &format!("restore --file {FILE}")).expect_code(1).stderr.contains("no dump"));
        let log = Betagate::new(["audit", "list", "-o", "json", "--database", &db.url]).run().expect_code(0).stdout;
        let actions: Vec<String> = serde_json::from_str::<Vec<Value>>(&log)
            .unwrap()
            .iter()
            .map(|entry| entry["action"].as_str().unwrap().to_owned())
            .collect();
        let wanted = [
            "dataset.undone",
            "dataset.imported",
            "dataset.undone",
            "dataset.undone",
            "dataset.published",
            "dataset.imported",
        ];
        assert_eq!(actions, wanted);
        Betagate::new(["audit", "verify", "--database", &db.url]).run().expect_code(0);
    }
}
