//! Two versions of a list compared: who came, who went, of whom something else is said now.

use sha2::{Digest as _, Sha256};

use super::list::RowDigest;

/// Stands for the digest of a list that is gone with its cohort's document: that of one that nobody has read.
pub const NO_LIST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Names the change from one list to another by the digests of both, so that it can be said before anything is live: a pull request has both.
/// Without a first list there is none to come from.
pub fn change_digest(from: Option<&str>, to: &str) -> String {
    let mut sha = Sha256::new_with_prefix(b"betagate list change\0");
    sha.update(from.unwrap_or_default());
    sha.update([0]);
    sha.update(to);
    data_encoding::HEXLOWER.encode(&sha.finalize())
}

/// The people in which two versions differ, each as the first half of a [`RowDigest`], sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowDifference {
    /// In the new version only.
    pub added: Vec<[u8; 16]>,
    /// In the old version only.
    pub removed: Vec<[u8; 16]>,
    /// In both, with other words.
    pub changed: Vec<[u8; 16]>,
}

/// Compares the two; both come in any order, neither holds a person twice.
pub fn row_difference(mut old: Vec<RowDigest>, mut new: Vec<RowDigest>) -> RowDifference {
    old.sort_unstable();
    new.sort_unstable();
    let mut difference = RowDifference::default();
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (None, None) => return difference,
            (Some(gone), None) => {
                difference.removed.push(gone.person());
                old.next();
            }
            (None, Some(come)) => {
                difference.added.push(come.person());
                new.next();
            }
            (Some(was), Some(is)) => match was.person().cmp(&is.person()) {
                std::cmp::Ordering::Less => {
                    difference.removed.push(was.person());
                    old.next();
                }
                std::cmp::Ordering::Greater => {
                    difference.added.push(is.person());
                    new.next();
                }
                std::cmp::Ordering::Equal => {
                    if was != is {
                        difference.changed.push(is.person());
                    }
                    old.next();
                    new.next();
                }
            },
        }
    }
}
