//! Secrets by their names: files of the data folder, or variables of the environment.
//!
//! Must not know: what a secret is for.

use std::path::Path;

use secrecy::SecretString;

/// The variable in which Sentry's own tools find their token; it is the secret `sentry-auth-token`.
const SENTRY_TOKEN: &str = "SENTRY_AUTH_TOKEN";

/// What opens the repository of the documents.
const GIT_TOKEN: &str = "git-token";

/// A secret by the name that a document, or a hook, has for it: `secrets/NAME` in the data folder, or `BETAGATE_SECRET_NAME` in the environment. Not what opens
/// the documents' repository: whoever may write a document could have it sent to an address of their own, and write to the repository.
///
/// # Errors
/// Where it was looked for, when it is nowhere.
pub fn secret_in(data: &Path, name: &str) -> Result<SecretString, String> {
    if variable_of(name) == variable_of(GIT_TOKEN) {
        return Err(format!("'{name}' opens the documents' repository: nothing else is given it"));
    }
    found(data, name)
}

/// What opens the repository of the documents over HTTPS.
///
/// # Errors
/// Where it was looked for, when it is nowhere.
pub fn git_token(data: &Path) -> Result<SecretString, String> {
    found(data, GIT_TOKEN)
}

fn variable_of(name: &str) -> String {
    format!("BETAGATE_SECRET_{}", name.to_uppercase().replace(['-', '.'], "_"))
}

fn found(data: &Path, name: &str) -> Result<SecretString, String> {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !plain || name.starts_with('.') {
        return Err(format!("'{name}' is no name for a secret"));
    }
    let variable = variable_of(name);
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_document_is_given_what_it_names_but_what_opens_its_repository() {
        let data = tempfile::tempdir().unwrap();
        std::fs::create_dir(data.path().join("secrets")).unwrap();
        for name in ["git-token", "forge-token"] {
            std::fs::write(data.path().join("secrets").join(name), "a word\n").unwrap();
        }
        let given = |name: &str| secret_in(data.path(), name).map(|secret| secret.expose_secret().to_owned());
        assert_eq!(given("forge-token").as_deref(), Ok("a word"));
        // Other names of the same variable too.
        for name in ["git-token", "git.token", "GIT_TOKEN"] {
            assert_eq!(given(name), Err(format!("'{name}' opens the documents' repository: nothing else is given it")));
        }
        assert!(given("../keys/admin.token").is_err() && given("nowhere").is_err());
        assert_eq!(git_token(data.path()).unwrap().expose_secret(), "a word");
    }
}
