#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use super::*;
use crate::clock::Clock;
use crate::source::GitSettings;

/// A repository with a work tree, and a workplace of its commits.
struct Scene {
    tree: TempDir,
    repository: git2::Repository,
    data: TempDir,
    workplace: Arc<Workplace>,
}

impl Scene {
    fn new() -> Self {
        let (tree, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let repository = git2::Repository::init(tree.path()).unwrap();
        let workplace = Self::workplace(&tree, &data);
        Self { tree, repository, data, workplace }
    }

    fn workplace(tree: &TempDir, data: &TempDir) -> Arc<Workplace> {
        let settings = GitSettings::new(tree.path().display().to_string(), data.path().join("sources"));
        Arc::new(Workplace {
            program: Some(Program::at("/bin/true")),
            source: Arc::new(Source::git(settings, Clock::manual(jiff::Timestamp::UNIX_EPOCH))),
            cluster: None,
            data: data.path().to_owned(),
            in_force: Mutex::default(),
            copy: Default::default(),
        })
    }

    fn write(&self, path: &str, text: &str, mode: u32) {
        let place = self.tree.path().join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(&place, text).unwrap();
        std::fs::set_permissions(&place, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Commits what is there, and brings it into force with these words of commands.
    async fn commit(&self, words: &[&str]) {
        let mut index = self.repository.index().unwrap();
        index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).unwrap();
        index.write().unwrap();
        let tree = self.repository.find_tree(index.write_tree().unwrap()).unwrap();
        let who = git2::Signature::now("Ana", "ana@example.com").unwrap();
        let parent = self.repository.head().ok().and_then(|head| head.peel_to_commit().ok());
        let parents: Vec<&git2::Commit<'_>> = parent.iter().collect();
        self.repository.commit(Some("HEAD"), &who, &who, "a change", &tree, &parents).unwrap();
        let snapshot = self.workplace.source.snapshot().await.unwrap();
        self.workplace.in_force(&snapshot, words.iter().map(|word| (*word).to_owned()).collect());
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_copy_has_the_documents_and_what_commands_name_and_programs_can_be_run() {
    let place = Scene::new();
    assert!(place.workplace.here().await.is_err(), "nothing is in force yet");
    place.write("manifests/a.yaml", "kind: Program\n", 0o644);
    place.write("manifests/jobs/age.sh", "echo 1\n", 0o755);
    place.write("mend", "#!/bin/sh\n", 0o755);
    place.write("tools/lib/words", "hi\n", 0o644);
    place.write("other", "nobody names it\n", 0o644);
    place.commit(&["./mend", "-c", "tools", "../secret", "/etc/passwd", "a b", "", "gone/away"]).await;
    let jobs = place.workplace.here().await.unwrap();
    let at = |path: &str| jobs.folder.join(path);
    assert_eq!((mode(&at("mend")), mode(&at("manifests/jobs/age.sh"))), (0o700, 0o700));
    assert_eq!((mode(&at("manifests/a.yaml")), mode(&at("tools/lib/words"))), (0o600, 0o600));
    assert_eq!(std::fs::read_to_string(at("tools/lib/words")).unwrap(), "hi\n");
    assert!(!at("other").exists());
    assert_eq!((mode(&jobs.folder), mode(&place.data.path().join(COPIES))), (0o700, 0o700));
}

#[tokio::test]
async fn a_copy_stays_while_a_command_runs_in_it_and_what_another_controller_left_goes() {
    let place = Scene::new();
    place.write("manifests/a.yaml", "kind: Program\n", 0o644);
    place.write("mend", "1", 0o755);
    let left = place.data.path().join(COPIES).join("left-half-done");
    std::fs::create_dir_all(&left).unwrap();
    place.commit(&["mend"]).await;
    let first = place.workplace.here().await.unwrap();
    assert!(!left.exists());
    assert_eq!(place.workplace.here().await.unwrap().folder, first.folder, "one is enough");
    // Only what a command names has changed.
    place.write("mend", "2", 0o755);
    place.commit(&["mend"]).await;
    let next = place.workplace.here().await.unwrap();
    let read = |jobs: &Place| std::fs::read_to_string(jobs.folder.join("mend")).unwrap();
    assert_eq!((read(&first), read(&next)), ("1".to_owned(), "2".to_owned()));
    let folder = first.folder.clone();
    drop(first);
    assert!(!folder.exists() && next.folder.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_who_ask_at_once_get_one_whole_copy() {
    let place = Scene::new();
    for number in 0..200 {
        place.write(&format!("manifests/{number}.yaml"), "kind: Program\n", 0o644);
    }
    place.commit(&[]).await;
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let workplace = place.workplace.clone();
        asked.spawn(async move {
            let jobs = workplace.here().await.unwrap();
            let whole = std::fs::read_dir(jobs.folder.join("manifests")).unwrap().count();
            (jobs.folder.clone(), whole, jobs)
        });
    }
    let all = asked.join_all().await;
    assert!(all.iter().all(|(folder, whole, _)| *folder == all[0].0 && *whole == 200));
}
