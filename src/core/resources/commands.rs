//! How long a command may take, of a check or of a step.

use super::Span;

/// When it does not say.
pub const USUAL_JOB: Span = Span::seconds(60);
/// At most: whoever waits for it waits no longer.
pub const LONGEST_JOB: Span = Span::seconds(600);

/// How long a command with this `timeout` may take.
pub fn job_time(timeout: Option<Span>) -> Span {
    timeout.unwrap_or(USUAL_JOB).min(LONGEST_JOB)
}
