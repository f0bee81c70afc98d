#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should stop")]

use std::io::Read;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;

use super::super::Source;
use super::*;
use crate::clock::Clock;

fn write(top: &Path, path: &str, text: impl AsRef<[u8]>) {
    let path = top.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.files.keys().map(String::as_str).collect()
}

fn clock() -> Clock {
    Clock::manual("2026-03-02T09:00:00Z".parse::<Timestamp>().unwrap())
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("a change is noticed")
}

#[test]
fn only_the_three_roots_are_looked_at_where_there_are_any() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path();
    for path in [
        "manifests/kruxt/gates.yaml",
        "cohorts/pavia.csv",
        "cohorts/templates/beta-invite.txt",
        "flags/f.json",
        "flags/.swap.yaml",
        "manifests/charts/templates/x.yaml",
        "README.md",
        "docs/a.yaml",
    ] {
        write(top, path, path);
    }
    let snapshot = read(top).unwrap();
    let wanted =
        ["cohorts/pavia.csv", "cohorts/templates/beta-invite.txt", "flags/f.json", "manifests/kruxt/gates.yaml"];
    assert_eq!(names(&snapshot), wanted);
    let documents: Vec<_> = snapshot.documents().map(|(path, bytes)| (path, bytes.len())).collect();
    assert_eq!(documents, [("flags/f.json", 12), ("manifests/kruxt/gates.yaml", 26)]);
}

#[test]
fn without_a_root_all_of_the_folder_is_looked_at_but_what_is_not_the_operators() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path();
    for path in
        ["a.yaml", "b/c.yml", ".git/x.yaml", ".betagate/y.yaml", "target/z.yaml", "charts/w/values.yaml", "main.rs"]
    {
        write(top, path, path);
    }
    assert_eq!(names(&read(top).unwrap()), ["a.yaml", "b/c.yml"]);
}

#[test]
fn a_single_document_brings_the_lists_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    for path in ["one.yaml", "two.yaml", "list.csv"] {
        write(folder.path(), path, path);
    }
    let snapshot = read(&folder.path().join("one.yaml")).unwrap();
    assert_eq!(names(&snapshot), ["list.csv", "one.yaml"]);
    assert_eq!(snapshot.named_by("one.yaml", "./list.csv").unwrap().0, "list.csv");
}

#[test]
fn a_named_file_is_looked_for_beside_the_document_then_in_its_root_then_at_the_top() {
    let folder = tempfile::tempdir().unwrap();
    for path in
        ["cohorts/eu/pavia.yaml", "cohorts/eu/pavia.csv", "cohorts/pavia.csv", "cohorts/templates/t.txt", "flags/f.csv"]
    {
        write(folder.path(), path, path);
    }
    let snapshot = read(folder.path()).unwrap();
    let found = |name: &str| snapshot.named_by("cohorts/eu/pavia.yaml", name).map(|(path, _)| path.to_owned());
    assert_eq!(found("pavia.csv").unwrap(), "cohorts/eu/pavia.csv");
    assert_eq!(found("templates/t.txt").unwrap(), "cohorts/templates/t.txt");
    assert_eq!(found("flags/f.csv").unwrap(), "flags/f.csv");
    assert_eq!(found("../x.csv"), Err(SourceError::NoFile("../x.csv".into())));
}

#[test]
fn the_revision_is_the_files_and_nothing_else() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [&one, &two] {
        write(folder.path(), "manifests/a.yaml", "kind: A\n");
    }
    let first = read(one.path()).unwrap().revision;
    assert_eq!(first.id, read(two.path()).unwrap().revision.id);
    assert_eq!((first.id.len(), first.commit.as_deref(), first.short().len()), (64, None, 8));
    write(two.path(), "manifests/a.yaml", "kind: B\n");
    let changed = read(two.path()).unwrap().revision;
    assert_ne!(first.id, changed.id);
    fs::rename(two.path().join("manifests/a.yaml"), two.path().join("manifests/b.yaml")).unwrap();
    assert_ne!(changed.id, read(two.path()).unwrap().revision.id);
}

#[test]
fn a_large_list_is_streamed_and_refused_once_it_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let list = "email\n".to_owned() + &"ana@example.com\n".repeat(40_000);
    write(folder.path(), "cohorts/pavia.csv", &list);
    let snapshot = read(folder.path()).unwrap();
    let file = snapshot.file("cohorts/pavia.csv").unwrap();
    assert!(!file.is_held());
    assert_eq!(file.size(), list.len() as u64);
    assert_eq!(file.digest(), Oid::hash_object(ObjectType::Blob, list.as_bytes()).unwrap().to_string());
    assert_eq!(&*file.read().unwrap(), list.as_bytes());

    let mut half = file.open().unwrap();
    half.read_exact(&mut [0; 100]).unwrap();
    write(folder.path(), "cohorts/pavia.csv", list + "new@example.com\n");
    assert_eq!(half.read_to_end(&mut Vec::new()).unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    assert_eq!(file.open().err(), Some(SourceError::Changed("cohorts/pavia.csv".into())));
}

#[test]
fn a_document_of_unreasonable_size_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "manifests/a.yaml", vec![b' '; MAX_DOCUMENT as usize + 1]);
    let error = read(folder.path()).unwrap_err();
    assert_eq!(
        error,
        SourceError::TooLarge { file: "manifests/a.yaml".into(), size: MAX_DOCUMENT + 1, most: MAX_DOCUMENT }
    );
    assert!(!error.retryable());
}

#[cfg(unix)]
#[test]
fn links_are_followed_within_the_folder_only() {
    use std::os::unix::fs::symlink;
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(folder.path(), "..data/a.yaml", "kind: A\n");
    write(outside.path(), "secret.yaml", "kind: B\n");
    symlink("..data/a.yaml", folder.path().join("a.yaml")).unwrap();
    symlink(outside.path().join("secret.yaml"), folder.path().join("b.yaml")).unwrap();
    symlink("nowhere.yaml", folder.path().join("c.yaml")).unwrap();
    symlink(folder.path(), folder.path().join("loop")).unwrap();
    assert_eq!(names(&read(folder.path()).unwrap()), ["a.yaml"]);
}

#[test]
fn a_work_tree_shows_its_commit_and_whether_it_differs() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path();
    let repository = Repository::init(top).unwrap();
    write(top, "sub/manifests/a.yaml", "kind: A\n");
    write(top, ".gitignore", "ignored.yaml\n");
    let commit = super::super::git::tests::commit_all(&repository, "First\n\nbody");
    let clean = read(&top.join("sub")).unwrap().revision;
    assert_eq!(clean.commit.as_deref(), Some(commit.as_str()));
    assert_eq!(clean.short(), commit[..8]);
    assert_eq!(clean.author.unwrap().email, "ana@gym.example");
    assert_eq!(clean.subject.as_deref(), Some("First"));
    assert_ne!(clean.id, commit);

    write(top, "README.md", "elsewhere");
    write(top, "sub/README.md", "elsewhere");
    assert_eq!(read(&top.join("sub")).unwrap().revision.commit.as_deref(), Some(commit.as_str()));
    write(top, "sub/manifests/b.yaml", "kind: B\n");
    let dirty = read(&top.join("sub")).unwrap().revision;
    assert_eq!(dirty.commit, Some(format!("{commit}+dirty")));
    assert_eq!((dirty.short(), dirty.author), (format!("{}+dirty", &commit[..8]), None));
}

#[tokio::test]
async fn a_change_in_the_folder_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path();
    write(top, "manifests/a.yaml", "kind: A\n");
    let source = Source::folder(top, clock());
    let mut last = source.snapshot().await.unwrap().revision.id.clone();
    let steps: [(&str, &dyn Fn()); 4] = [
        ("a file is written", &|| write(top, "manifests/a.yaml", "kind: B\n")),
        ("a root is made", &|| write(top, "cohorts/eu/pavia.csv", "email\n")),
        ("a file in a new folder", &|| write(top, "cohorts/eu/pavia.csv", "email\na@example.com\n")),
        ("a file is removed", &|| fs::remove_file(top.join("manifests/a.yaml")).unwrap()),
    ];
    for (what, step) in steps {
        step();
        // A change may come in pieces; each is a reason to look, the last one shows it whole.
        let next = soon(async {
            loop {
                source.next_change().await;
                let id = source.snapshot().await.unwrap().revision.id.clone();
                if id != last {
                    break id;
                }
            }
        });
        last = next.await;
        assert!(!last.is_empty(), "{what}");
    }
}

#[tokio::test]
async fn a_wait_that_is_given_up_loses_no_change() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "manifests/a.yaml", "kind: A\n");
    let source = Source::folder(folder.path(), clock());
    source.snapshot().await.unwrap();
    source.trigger();
    for _ in 0..3 {
        // It sees the change and begins to wait for quiet.
        assert_eq!(source.next_change().now_or_never(), None);
    }
    soon(source.next_change()).await;
}

#[tokio::test]
async fn the_last_good_snapshot_goes_on_while_the_folder_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path().join("programs");
    let source = Source::folder(&top, clock());
    let error = source.snapshot().await.unwrap_err();
    assert!(matches!(error, SourceError::NoFolder(_)) && error.retryable());
    assert_eq!(source.state().failure.unwrap().attempts, 1);

    write(&top, "manifests/a.yaml", "kind: A\n");
    let good = source.snapshot().await.unwrap();
    let state = source.state();
    assert_eq!((state.failure, state.revision), (None, Some(good.revision.clone())));

    fs::remove_dir_all(&top).unwrap();
    assert!(Arc::ptr_eq(&source.snapshot().await.unwrap(), &good));
    source.snapshot().await.unwrap();
    let state = source.state();
    let failure = state.failure.unwrap();
    assert_eq!((failure.attempts, failure.retryable, state.revision), (2, true, Some(good.revision.clone())));

    // The same names again: the folders that are watched are new ones.
    write(&top, "manifests/a.yaml", "kind: B\n");
    assert_ne!(source.snapshot().await.unwrap().revision.id, good.revision.id);
    write(&top, "manifests/a.yaml", "kind: C\n");
    soon(source.next_change()).await;
}
