//! What should be true now: verdicts, stages, holds, the steps of a rollback. A pure function of what is wanted, what was measured,
//! what is remembered, and the time.
//!
//! Must not know: I/O, async, the system's time.

mod reading;

pub use reading::*;
