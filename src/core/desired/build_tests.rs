#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot be set up has failed")]
use std::path::{Path, PathBuf};

use super::*;

fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|ending| ending == "yaml") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn the_programs_of_this_repository_hold() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for folder in ["manifests", "cohorts", "flags"] {
        collect(&root, &root.join(folder), &mut files);
    }
    let exists = |path: &str| root.join(path).is_file();
    let options = BuildOptions { environment: None, default_prometheus: true, file_exists: &exists };
    let files = files.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    match build(files, Revision::default(), &options) {
        Ok(built) => {
            assert_eq!(built.warnings, []);
            assert_eq!(built.desired.programs.keys().collect::<Vec<_>>(), ["coach", "kruxt", "soft-launch"]);
        }
        Err(problems) => panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}
