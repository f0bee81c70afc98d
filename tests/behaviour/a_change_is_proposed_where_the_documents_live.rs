//! A cause step may propose the revert of the commit that was live, and its document, in the Git repository of the documents: each a commit on a branch of its
//! own, for people to look at. The branch that betagate follows is never written to, and asking twice proposes once.

use std::collections::BTreeMap;

use betagate::clock::Clock;
use betagate::source::{GitSettings, Proposal, Source};

use crate::support::TestRepo;

fn proposal(branch: &str, revert: Option<&str>, files: &[(&str, &str)]) -> Proposal {
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
    Proposal {
        branch: branch.to_owned(),
        message: format!("Proposed on {branch}"),
        files: files.collect::<BTreeMap<_, _>>(),
        revert: revert.map(str::to_owned),
        at: "2026-03-13T16:00:00Z".parse().unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_proposed_where_the_documents_live() {
    let repo = TestRepo::empty();
    repo.write("beta/flags/boost.yaml", "defaultVariant: \"off\"\n");
    let first = repo.commit("the first");
    repo.write("beta/flags/boost.yaml", "defaultVariant: \"on\"\n");
    let bad = repo.commit("boost everyone");
    repo.write("beta/flags/other.yaml", "defaultVariant: \"off\"\n");
    let tip = repo.commit("something else");
    let (cache, remote) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let url = remote.path().display().to_string();
    repo.git(&["clone", "--quiet", "--bare", ".", &url]);
    let there = |words: &[&str]| repo.git(&[&["--git-dir", url.as_str()], words].concat());
    let mut settings = GitSettings::new(&url, cache.path());
    settings.path = "beta".to_owned();
    let source = Source::git(settings, Clock::manual("2026-03-13T16:00:00Z".parse().unwrap()));

    let proposed = source.propose(proposal("betagate/revert-run-1", Some(&bad), &[])).await.unwrap();
    let at = |file: &str| there(&["show", &format!("{}:{file}", proposed.branch)]);
    assert_eq!(at("beta/flags/boost.yaml"), "defaultVariant: \"off\"", "the bad commit is taken back");
    assert_eq!(at("beta/flags/other.yaml"), "defaultVariant: \"off\"", "a later one stays");
    assert_eq!(there(&["rev-parse", "main"]), tip, "the branch that is followed is left alone");
    assert_eq!(there(&["rev-parse", &format!("{}^", proposed.branch)]), tip);
    let again = source.propose(proposal("betagate/revert-run-1", Some(&bad), &[])).await.unwrap();
    assert_eq!(again, proposed, "asked for twice, proposed once");

    let document = [("incidents/run-1.md", "# Cause of run-1\n")];
    let proposed = source.propose(proposal("betagate/cause-run-1-1", None, &document)).await.unwrap();
    let text = there(&["show", &format!("{}:beta/incidents/run-1.md", proposed.branch)]);
    assert_eq!(text, "# Cause of run-1");

    let refused = async |revert: &str| {
        let asked = source.propose(proposal("betagate/other", Some(revert), &[])).await;
        asked.unwrap_err().to_string()
    };
    assert!(refused(&first).await.contains("first commit"));
    repo.write("beta/flags/boost.yaml", "defaultVariant: \"half\"\n");
    repo.commit("the same line once more");
    repo.git(&["push", "--quiet", &url, "main"]);
    assert!(refused(&bad).await.contains("later commits touch the same lines"));
    assert!(there(&["branch", "--list", "betagate/other"]).is_empty());

    let folder = Source::folder(repo.path(), Clock::manual("2026-03-13T16:00:00Z".parse().unwrap()));
    let said = folder.propose(proposal("betagate/x", None, &document)).await.unwrap_err().to_string();
    assert!(said.contains("in a folder"), "{said}");
}
