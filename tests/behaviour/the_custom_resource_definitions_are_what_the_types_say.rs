//! `crds/` is written from the types; this says when it is stale.

use crate::support::{Betagate, repository_root};

#[test]
fn the_custom_resource_definitions_are_what_the_types_say() {
    let folder = tempfile::tempdir().unwrap();
    let written = folder.path().to_str().unwrap();
    Betagate::new(["crd", "--write", written]).run().expect_code(0);
    let list = |dir: &std::path::Path| -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let kept = repository_root().join("crds");
    assert_eq!(list(&kept), list(folder.path()), "crds/ has other files: run `betagate crd --write crds`");
    for name in list(&kept) {
        let (kept, fresh) = (kept.join(&name), folder.path().join(&name));
        assert!(
            std::fs::read(kept).unwrap() == std::fs::read(fresh).unwrap(),
            "crds/{name} is stale: run `betagate crd --write crds`"
        );
    }
}
