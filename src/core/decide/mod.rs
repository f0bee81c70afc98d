//! (see the head of the crate)
