//! The groups of routes that can be kept online, and the path that tells whether one answers.

/// The probe of a route group; none for a name that is no group.
pub fn probe_path(group: &str) -> Option<&'static str> {
    Some(match group {
        "privacy" => "/v1/privacy/health",
        "compliance" => "/v1/compliance/health",
        "auth" => "/v1/auth/health",
        "flags" => "/ofrep/v1/health",
        "health" => "/healthz",
        "events" => "/v1/events/health",
        _ => return None,
    })
}
