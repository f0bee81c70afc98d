//! Conditions that keep their transition times, events, bounded history.
//!
//! Must not know: how a state came about.
