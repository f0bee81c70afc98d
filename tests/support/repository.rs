//! A repository of programs for one test: a copy of this project's own manifests, cohorts and flags, free to be changed and committed.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A temporary copy of the repository's YAML. Its folder is gone when this is dropped.
pub struct TestRepo {
    folder: tempfile::TempDir,
}

/// The folder of this project.
pub fn repository_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl TestRepo {
    /// An empty folder.
    pub fn empty() -> TestRepo {
        TestRepo { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// The project's own programs: everything in `manifests/`, `cohorts/` and `flags/`.
    pub fn of_this_project() -> TestRepo {
        let repo = TestRepo::empty();
        for room in ["manifests", "cohorts", "flags"] {
            copy(&repository_root().join(room), &repo.path().join(room));
        }
        repo
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, making its folders.
    pub fn write(&self, file: &str, text: &str) -> PathBuf {
        let path = self.path().join(file);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a writable folder");
        std::fs::write(&path, text).expect("a writable file");
        path
    }

    pub fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    /// Replaces `old`, which must be there exactly once, by `new`.
    pub fn replace(&self, file: &str, old: &str, new: &str) {
        let text = self.read(file);
        assert_eq!(text.matches(old).count(), 1, "{file} should have exactly one {old:?}");
        self.write(file, &text.replacen(old, new, 1));
    }

    pub fn remove(&self, file: &str) {
        std::fs::remove_file(self.path().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    }

    /// Commits all that is there (making the folder a Git repository first if it is none) and returns the revision.
    pub fn commit(&self, message: &str) -> String {
        if !self.path().join(".git").exists() {
            self.git(&["init", "--quiet", "--initial-branch=main"]);
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Runs git here, untouched by the machine's own configuration, and returns what it printed.
    pub fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .current_dir(self.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .args(["-c", "user.name=Ana Moretti", "-c", "user.email=ana@gym.example"])
            .args(arguments)
            .output()
            .expect("git is installed");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a writable folder");
    for entry in std::fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let entry = entry.expect("a readable entry");
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target);
        } else {
            std::fs::copy(&source, &target).expect("a copied file");
        }
    }
}
