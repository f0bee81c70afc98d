//! Secrets by their names: files of the data folder, or variables of the environment.
//!
//! Must not know: what a secret is for.

use std::path::Path;

use secrecy::SecretString;

/// The variable in which Sentry's own tools find their token; it is the secret `sentry-auth-token`.
const SENTRY_TOKEN: &str = "SENTRY_AUTH_TOKEN";

/// A secret by its name: `secrets/NAME` in the data folder, or `BETAGATE_SECRET_NAME` in the environment.
///
/// # Errors
/// Where it was looked for, when it is nowhere.
pub fn secret_in(data: &Path, name: &str) -> Result<SecretString, String> {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !plain || name.starts_with('.') {
        return Err(format!("'{name}' is no name for a secret"));
    }
    let variable = format!("BETAGATE_SECRET_{}", name.to_uppercase().replace(['-', '.'], "_"));
    if let Ok(value) = std::env::var(&variable) {
        return Ok(value.trim_end().into());
    }
    if let Ok(value) = std::fs::read_to_string(data.join("secrets").join(name)) {
        return Ok(value.trim_end().into());
    }
    match std::env::var(SENTRY_TOKEN) {
        Ok(value) if name == "sentry-auth-token" => Ok(value.trim_end().into()),
        _ => Err(format!("there is no secret '{name}' (secrets/{name} in the data folder, or {variable})")),
    }
}
