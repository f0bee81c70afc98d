//! Where documents come from: a folder or a Git repository, as a Snapshot.
//!
//! Must not know: what the documents mean.
