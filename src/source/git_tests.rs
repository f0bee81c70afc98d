#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should stop")]

use std::fs;
use std::time::Duration;

use git2::{IndexAddOption, Repository, Signature, Time};
use jiff::Timestamp;
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::{Change, Source, at, changed_files};
use super::*;
use crate::clock::Clock;

/// 2026-03-01T12:00:00Z.
const WRITTEN: i64 = 1_772_366_400;

/// Commits all that is in the work tree, as Ana, and returns the commit's id.
pub(in crate::source) fn commit_all(repository: &Repository, message: &str) -> String {
    let mut index = repository.index().unwrap();
    index.add_all(["*"], IndexAddOption::DEFAULT, None).unwrap();
    index.update_all(["*"], None).unwrap();
    index.write().unwrap();
    let tree = repository.find_tree(index.write_tree().unwrap()).unwrap();
    let author = Signature::new("Ana Moretti", "ana@gym.example", &Time::new(WRITTEN, 60)).unwrap();
    let committer = Signature::new("Bot", "bot@gym.example", &Time::new(WRITTEN + 60, 0)).unwrap();
    let parent = repository.head().ok().and_then(|head| head.peel_to_commit().ok());
    let parents: Vec<_> = parent.iter().collect();
    repository.commit(Some("HEAD"), &author, &committer, message, &tree, &parents).unwrap().to_string()
}

struct Remote {
    folder: tempfile::TempDir,
    repository: Repository,
}

impl Remote {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = git2::RepositoryInitOptions::new();
        options.initial_head("main");
        let repository = Repository::init_opts(folder.path().join("repo"), &options).unwrap();
        Self { folder, repository }
    }

    fn write(&self, path: &str, text: &str) -> &Self {
        let path = self.repository.workdir().unwrap().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn commit(&self, message: &str) -> String {
        commit_all(&self.repository, message)
    }

    fn settings(&self) -> GitSettings {
        GitSettings::new(
            format!("file://{}", self.folder.path().join("repo").display()),
            self.folder.path().join("cache"),
        )
    }

    fn source(&self) -> Source {
        Source::git(self.settings(), clock())
    }
}

fn clock() -> Clock {
    Clock::manual("2026-03-02T09:00:00Z".parse::<Timestamp>().unwrap())
}

fn text(snapshot: &Snapshot, path: &str) -> String {
    String::from_utf8(snapshot.file(path).unwrap().read().unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn a_commit_becomes_a_snapshot_and_the_next_one_another() {
    let remote = Remote::new();
    let first =
        remote.write("manifests/a.yaml", "kind: A\n").write("docs/x.yaml", "kind: X\n").commit("First\n\nMore.");
    let source = remote.source();
    let snapshot = source.snapshot().await.unwrap();
    assert_eq!(snapshot.files.keys().collect::<Vec<_>>(), ["manifests/a.yaml"]);
    assert_eq!(text(&snapshot, "manifests/a.yaml"), "kind: A\n");
    let revision = &snapshot.revision;
    assert_eq!((revision.id.as_str(), revision.commit.as_deref()), (first.as_str(), None));
    assert_eq!(revision.short(), first[..8]);
    assert_eq!(revision.subject.as_deref(), Some("First"));
    assert_eq!(revision.authored_at.unwrap().as_second(), WRITTEN);
    assert_eq!(revision.committed_at.unwrap().as_second(), WRITTEN + 60);
    let author = revision.author.clone().unwrap();
    assert_eq!(
        (author.name.as_str(), author.email.as_str(), author.verified),
        ("Ana Moretti", "ana@gym.example", false)
    );

    assert!(Arc::ptr_eq(&source.snapshot().await.unwrap(), &snapshot), "nothing moved");
    let second = remote.write("manifests/a.yaml", "kind: B\n").write("cohorts/c.csv", "email\n").commit("Second");
    let next = source.snapshot().await.unwrap();
    assert_eq!((next.revision.id.as_str(), text(&next, "manifests/a.yaml").as_str()), (second.as_str(), "kind: B\n"));
    assert_eq!(source.state().last_success, Some("2026-03-02T09:00:00Z".parse().unwrap()));

    let elsewhere = remote.write("docs/x.yaml", "kind: Y\n").commit("Elsewhere");
    let moved = source.snapshot().await.unwrap();
    assert_eq!(moved.revision.id, elsewhere);
    assert_eq!(moved.revision.content, next.revision.content);
}

#[tokio::test]
async fn the_same_files_have_the_same_digest_in_a_folder_and_in_git() {
    let remote = Remote::new();
    remote
        .write("manifests/a.yaml", "kind: A\n")
        .write("cohorts/p.csv", &"a@example.com\n".repeat(30_000))
        .commit("First");
    let from_git = remote.source().snapshot().await.unwrap();
    let from_folder = super::super::read_folder(remote.repository.workdir().unwrap()).unwrap();
    assert_eq!(from_git.revision.content, from_folder.revision.content);
    assert_eq!(from_folder.revision.commit, Some(from_git.revision.id.clone()));
    let list = from_git.file("cohorts/p.csv").unwrap();
    assert!(!list.is_held());
    assert_eq!(&*list.read().unwrap(), &*from_folder.file("cohorts/p.csv").unwrap().read().unwrap());
}

#[tokio::test]
async fn a_branch_and_a_path_can_be_chosen() {
    let remote = Remote::new();
    let first = remote.write("beta/manifests/a.yaml", "kind: A\n").commit("First");
    let commit = remote.repository.find_commit(first.parse().unwrap()).unwrap();
    remote.repository.branch("staging", &commit, false).unwrap();
    remote.write("beta/manifests/a.yaml", "kind: B\n").commit("Second");
    let mut settings = remote.settings();
    settings.branch = Some("staging".into());
    settings.path = "/beta/".into();
    let source = Source::git(settings.clone(), clock());
    let snapshot = source.snapshot().await.unwrap();
    assert_eq!((snapshot.revision.id.as_str(), snapshot.prefix.as_str()), (first.as_str(), "beta/"));
    assert_eq!(text(&snapshot, "manifests/a.yaml"), "kind: A\n");

    for (branch, path, wanted) in [
        (Some("nowhere"), "", SourceError::NoBranch("nowhere".into())),
        (None, "gamma", SourceError::NoFolder("gamma".into())),
        (None, "beta/manifests/a.yaml", SourceError::NoFolder("beta/manifests/a.yaml".into())),
        (None, "../x", SourceError::Settings("the path `../x` leads out of the repository".into())),
    ] {
        let mut settings = settings.clone();
        (settings.branch, settings.path) = (branch.map(str::to_owned), path.to_owned());
        settings.cache = remote.folder.path().join("another");
        assert_eq!(Source::git(settings, clock()).snapshot().await.unwrap_err(), wanted);
    }
}

#[tokio::test]
async fn a_rewritten_branch_is_followed() {
    let remote = Remote::new();
    let first = remote.write("a.yaml", "kind: A\n").commit("First");
    remote.write("a.yaml", "kind: B\n").commit("Second");
    let source = remote.source();
    source.snapshot().await.unwrap();
    let back = remote.repository.find_object(first.parse().unwrap(), None).unwrap();
    remote.repository.reset(&back, git2::ResetType::Hard, None).unwrap();
    let rewritten = remote.write("a.yaml", "kind: C\n").commit("Another second");
    assert_eq!(source.snapshot().await.unwrap().revision.id, rewritten);
}

#[tokio::test]
async fn the_last_good_revision_goes_on_when_the_remote_vanishes_even_after_a_restart() {
    let remote = Remote::new();
    let first = remote.write("a.yaml", "kind: A\n").commit("First");
    let source = remote.source();
    let good = source.snapshot().await.unwrap();
    let (here, away) = (remote.folder.path().join("repo"), remote.folder.path().join("away"));
    fs::rename(&here, &away).unwrap();
    assert!(Arc::ptr_eq(&source.snapshot().await.unwrap(), &good));
    let state = source.state();
    let failure = state.failure.unwrap();
    assert!(failure.retryable && failure.message.contains("not there"), "{}", failure.message);
    assert_eq!(state.revision.unwrap().id, first);

    let restarted = remote.source();
    assert_eq!(restarted.snapshot().await.unwrap().revision.id, first);
    assert_eq!(restarted.state().failure.unwrap().attempts, 1);

    fs::rename(&away, &here).unwrap();
    let second = remote.write("a.yaml", "kind: B\n").commit("Second");
    assert_eq!(restarted.snapshot().await.unwrap().revision.id, second);
    assert_eq!(restarted.state().failure, None);
}

#[tokio::test]
async fn a_damaged_cache_is_made_anew() {
    let remote = Remote::new();
    let first = remote.write("a.yaml", "kind: A\n").commit("First");
    remote.source().snapshot().await.unwrap();
    let cache = fs::read_dir(remote.folder.path().join("cache")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(cache.join("HEAD")).unwrap();
    assert_eq!(remote.source().snapshot().await.unwrap().revision.id, first);
}

#[tokio::test]
async fn an_older_revision_can_be_read_and_compared() {
    let remote = Remote::new();
    let first = remote.write("manifests/a.yaml", "1").write("manifests/b.yaml", "1").commit("First");
    fs::remove_file(remote.repository.workdir().unwrap().join("manifests/b.yaml")).unwrap();
    let second =
        remote.write("manifests/a.yaml", "2").write("cohorts/c.csv", "3").write("main.rs", "4").commit("Second");
    let source = remote.source();
    source.snapshot().await.unwrap();
    assert_eq!(text(&source.at("HEAD~1").await.unwrap(), "manifests/a.yaml"), "1");
    assert_eq!(source.at("nowhere").await.unwrap_err(), SourceError::NoRevision("nowhere".into()));
    let wanted = [
        ("cohorts/c.csv", Change::Added),
        ("manifests/a.yaml", Change::Changed),
        ("manifests/b.yaml", Change::Removed),
    ];
    let wanted: BTreeMap<_, _> = wanted.into_iter().map(|(path, change)| (path.to_owned(), change)).collect();
    assert_eq!(source.changed_files(&first, &second).await.unwrap(), wanted);

    // The same in a work tree, as `plan --base REV` reads it in a pull request's checkout.
    let checkout = remote.repository.workdir().unwrap();
    assert_eq!(text(&at(checkout, &first, "").unwrap(), "manifests/b.yaml"), "1");
    assert_eq!(changed_files(checkout, "HEAD~1", "HEAD", "cohorts").unwrap().len(), 1);
    let folder = Source::folder(checkout, clock());
    assert_eq!(folder.at("HEAD~1").await.unwrap().revision.id, first);
    assert_eq!(folder.changed_files(&first, &second).await.unwrap(), wanted);
}

/// A Git server that answers every request alike.
async fn server(answer: &'static str) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusing_remote_is_named_without_the_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let refuses = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let gone = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let (refusing, missing) = (server(refuses).await, server(gone).await);
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let token = Credentials::Token { user: None, token: SecretString::from("s3cret-token") };
    type Sort = fn(&SourceError) -> bool;
    let cases: [(u16, Credentials, Sort); 4] = [
        (refusing, token.clone(), |error| matches!(error, SourceError::Credentials(_))),
        (refusing, Credentials::None, |error| matches!(error, SourceError::Credentials(_))),
        (missing, token.clone(), |error| matches!(error, SourceError::Vanished(_))),
        (closed, token, |error| matches!(error, SourceError::Unreachable(_))),
    ];
    for (port, credentials, sort) in cases {
        let mut settings = GitSettings::new(format!("http://ana:pass-word@127.0.0.1:{port}/a.git"), folder.path());
        settings.credentials = Arc::new(move || Ok(credentials.clone()));
        let source = Source::git(settings, clock());
        let error = source.snapshot().await.unwrap_err();
        assert!(sort(&error) && error.retryable(), "{error:?}");
        let state = source.state();
        let said = format!("{error:?} {}", serde_json::to_string(&state).unwrap());
        assert!(!said.contains("s3cret") && !said.contains("pass-word"), "{said}");
        assert_eq!(state.place, format!("http://127.0.0.1:{port}/a.git"));
    }
}

#[tokio::test]
async fn a_repository_is_polled_and_asked_at_once_when_triggered() {
    let remote = Remote::new();
    remote.write("a.yaml", "kind: A\n").commit("First");
    let mut settings = remote.settings();
    settings.poll = Duration::from_secs(3600);
    let source = Source::git(settings.clone(), clock());
    source.snapshot().await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), source.next_change()).await.is_err());
    source.trigger();
    tokio::time::timeout(Duration::from_secs(20), source.next_change()).await.unwrap();

    settings.poll = Duration::from_millis(10);
    let polled = Source::git(settings, clock());
    polled.snapshot().await.unwrap();
    for _ in 0..3 {
        tokio::time::timeout(Duration::from_secs(20), polled.next_change()).await.unwrap();
    }
}
