//! A list summed up in 256 parts, so that a small change is looked for in a small part of the database.
//!
//! Must not know: rows, only their digests.

use super::list::RowDigest;

/// How many parts a list is summed up in, so that a changed row is looked for in one of them only.
pub const BUCKETS: usize = 256;

/// One sum a bucket, over the digests of its rows in whatever order they stand.
#[derive(Clone, PartialEq, Eq)]
pub struct Buckets([u128; BUCKETS]);

impl Default for Buckets {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl std::fmt::Debug for Buckets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Buckets(…)")
    }
}

impl Buckets {
    pub(super) fn add(&mut self, digest: RowDigest) {
        let half = |at: usize| digest.0[at..at + 16].iter().fold(0_u128, |sum, byte| (sum << 8) | u128::from(*byte));
        // Person and words are bound together, or two people could swap their rows unseen.
        let sum = &mut self.0[usize::from(digest.bucket())];
        *sum = sum.wrapping_add(half(0).rotate_left(41) ^ half(16));
    }

    /// Takes in the sums of another part of the list.
    pub(super) fn merge(&mut self, part: &Self) {
        self.0.iter_mut().zip(part.0).for_each(|(sum, more)| *sum = sum.wrapping_add(more));
    }

    /// The buckets in which the two lists differ.
    pub fn differing(&self, other: &Self) -> Vec<u8> {
        (0..=u8::MAX).filter(|bucket| self.0[usize::from(*bucket)] != other.0[usize::from(*bucket)]).collect()
    }

    /// 4096 bytes, to be stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|sum| sum.to_be_bytes()).collect()
    }

    /// What [`Self::to_bytes`] gave; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != BUCKETS * 16 {
            return None;
        }
        let mut buckets = Self::default();
        for (sum, chunk) in buckets.0.iter_mut().zip(bytes.chunks_exact(16)) {
            *sum = u128::from_be_bytes(chunk.try_into().ok()?);
        }
        Some(buckets)
    }
}
