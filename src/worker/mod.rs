//! Schedules, jobs, retries.
//!
//! Must not know: the rules of the domain.
