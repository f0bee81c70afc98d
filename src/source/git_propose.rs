//! What betagate writes where the documents live: a proposal, a commit on a branch of its own for people to look at and merge; and a tag that a stage asks for.
//! Nothing is ever written to the branch that betagate follows, and nothing that is there is ever moved.
//!
//! Must not know: why a change is proposed, or a tag is made.

use std::collections::BTreeMap;

use git2::build::TreeUpdateBuilder;
use git2::{Commit, FileMode, Oid, Repository, Signature, Time};
use jiff::Timestamp;

use super::SourceError;
use super::git_read::git;

/// Who proposes.
const NAME: &str = "betagate";
const ADDRESS: &str = "betagate@localhost";

/// A change to be proposed.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The branch; one that is there already is left as it is.
    pub branch: String,
    /// The commit's message.
    pub message: String,
    /// Files to be written, below the folder that is followed.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The commit whose change is taken back.
    pub revert: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// A change that was proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// The branch.
    pub branch: String,
    /// The commit it ends with.
    pub commit: String,
}

/// A tag to be made.
#[derive(Clone, Debug)]
pub struct Tag {
    /// Its name.
    pub name: String,
    /// The commit.
    pub revision: String,
    /// What it says.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// Makes an annotated tag of a commit, which no reference names yet; gives it and the commit.
pub(super) fn tag(cache: &Repository, tag: &Tag) -> Result<Oid, SourceError> {
    let commit = super::git_read::resolve(cache, &tag.revision)?;
    let who = Signature::new(NAME, ADDRESS, &Time::new(tag.at.as_second(), 0)).map_err(git)?;
    cache.tag_annotation_create(&tag.name, commit.as_object(), &who, &tag.message).map_err(git)
}

/// Makes the commit of a proposal on top of `tip`.
pub(super) fn commit(cache: &Repository, tip: Oid, path: &str, proposal: &Proposal) -> Result<Oid, SourceError> {
    let base = cache.find_commit(tip).map_err(git)?;
    let mut tree = base.tree().map_err(git)?.id();
    if let Some(revision) = &proposal.revert {
        tree = reverted(cache, &base, revision)?;
    }
    if !proposal.files.is_empty() {
        let mut update = TreeUpdateBuilder::new();
        for (name, text) in &proposal.files {
            let blob = cache.blob(text).map_err(git)?;
            let name = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            update.upsert(name, blob, FileMode::Blob);
        }
        let before = cache.find_tree(tree).map_err(git)?;
        tree = update.create_updated(cache, &before).map_err(git)?;
    }
    if tree == base.tree_id() {
        return Err(SourceError::Settings("there is nothing to propose: the branch says so already".to_owned()));
    }
    let tree = cache.find_tree(tree).map_err(git)?;
    let who = Signature::new(NAME, ADDRESS, &Time::new(proposal.at.as_second(), 0)).map_err(git)?;
    cache.commit(None, &who, &who, &proposal.message, &tree, &[&base]).map_err(git)
}

/// The tree of `base` without the change of a commit.
fn reverted(cache: &Repository, base: &Commit<'_>, revision: &str) -> Result<Oid, SourceError> {
    let bad = super::git_read::resolve(cache, revision)?;
    if bad.parent_count() == 0 {
        return Err(SourceError::Settings(format!("{revision} is the first commit: there is nothing to go back to")));
    }
    // A merge is taken back towards the branch that it was merged into.
    let mainline = u32::from(bad.parent_count() > 1);
    let mut index = cache.revert_commit(&bad, base, mainline, None).map_err(git)?;
    if index.has_conflicts() {
        return Err(SourceError::Settings(format!(
            "{revision} can't be taken back by itself: later commits touch the same lines"
        )));
    }
    index.write_tree_to(cache).map_err(git)
}
