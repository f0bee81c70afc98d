#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use super::*;

fn snapshot(files: &[(&str, &str)]) -> Snapshot {
    let file = |(path, text): &(&str, &str)| ((*path).to_owned(), File::of_bytes(path, text.as_bytes().to_vec()));
    Snapshot::of_files(files.iter().map(file).collect())
}

const PROGRAM: &str = "kind: Program\nmetadata: { name: small }\nspec: { timeZone: UTC }\n";

fn cohort(name: &str, csv: &str) -> String {
    format!("kind: Cohort\nmetadata: {{ name: {name} }}\nspec: {{ program: small, members: {{ csv: {csv} }} }}\n")
}

#[test]
fn each_document_becomes_an_object_with_our_mark_and_its_own_labels() {
    let flag = "kind: Flag\nmetadata:\n  name: f\n  namespace: beta\n  labels: { team: red, betagate.dev/recorded: '1' }\n  uid: x\nspec: { program: small }\n";
    let files = snapshot(&[("manifests/p.yaml", &format!("{PROGRAM}---\n{flag}")), ("manifests/q.sql", "SELECT 1")]);
    let revised = Revised::of(&files, "beta").unwrap();
    assert_eq!(revised.objects.len(), 2);
    assert!(revised.files.is_empty(), "only what a document names is brought");
    let key = Key { kind: Kind::Flag, name: "f".to_owned() };
    let object = &revised.objects[&key];
    assert_eq!(object.program, "small");
    let expected = json!({
        "name": "f",
        "labels": { "team": "red", "betagate.dev/source": "git" },
        "annotations": { "betagate.dev/file": "manifests/p.yaml", "betagate.dev/applied": object.digest },
    });
    assert_eq!(object.body["metadata"], expected);
    let again = Revised::of(&files, "beta").unwrap();
    assert_eq!(again.objects[&key].digest, object.digest);
    let other = snapshot(&[("manifests/p.yaml", &format!("{PROGRAM}---\n{}", flag.replace("red", "blue")))]);
    assert_ne!(Revised::of(&other, "beta").unwrap().objects[&key].digest, object.digest);
    assert!(Revised::of(&files, "elsewhere").unwrap_err()[0].message.contains("it is for namespace beta"));
}

#[test]
fn a_named_file_lies_where_its_resource_looks_for_it() {
    let (document, list) = (cohort("pavia", "./pavia.csv"), "email\nada@example.com\n");
    let text = format!("{PROGRAM}---\n{document}");
    let files = [
        ("manifests/here/p.yaml", text.as_str()),
        ("manifests/here/pavia.csv", list),
        ("cohorts/templates/t.txt", "Hi"),
    ];
    let revised = Revised::of(&snapshot(&files), "beta").unwrap();
    assert_eq!(revised.files.keys().collect::<Vec<_>>(), ["cohorts/pavia.csv", "cohorts/templates/t.txt"]);
    let told = revised.as_told();
    let (_, found) = told.named_by("cohorts/pavia.yaml", "./pavia.csv").unwrap();
    assert_eq!(&*found.read().unwrap(), list.as_bytes());
}

#[test]
fn two_files_that_would_be_one_in_a_cluster_are_refused() {
    let (one, two) = (format!("{PROGRAM}---\n{}", cohort("one", "list.csv")), cohort("two", "list.csv"));
    let files = |other: &'static str| {
        snapshot(&[
            ("manifests/a/p.yaml", &one),
            ("manifests/b/q.yaml", &two),
            ("manifests/a/list.csv", "email\na@example.com\n"),
            ("manifests/b/list.csv", other),
        ])
    };
    let problems = Revised::of(&files("email\nb@example.com\n"), "beta").unwrap_err();
    assert!(problems[0].message.contains("both would be cohorts/list.csv"), "{problems:?}");
    assert!(Revised::of(&files("email\na@example.com\n"), "beta").is_ok(), "the same file twice is one");
}

#[test]
fn a_source_without_a_program_is_more_often_a_mistake_than_a_wish() {
    let problems = Revised::of(&snapshot(&[]), "beta").unwrap_err();
    assert!(problems[0].message.contains("holds no program"), "{problems:?}");
}
