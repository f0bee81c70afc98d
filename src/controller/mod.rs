//! The loops around the flow, leadership and error policy.
//!
//! Must not know: the rules of the domain.
