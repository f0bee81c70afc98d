//! Readings, one file a source.
//!
//! Must not know: thresholds.
