//! Whether a webhook really comes from the Git server: a signature over the body, compared in constant time.
//!
//! Must not know: HTTP. The route takes header and body and asks here.

use data_encoding::HEXLOWER_PERMISSIVE;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Why a webhook is refused. The texts carry nothing of what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// No signature was sent.
    #[error("the webhook is not signed")]
    Unsigned,
    /// The signature is not of a form that is known here.
    #[error("the webhook's signature cannot be read")]
    Malformed,
    /// The signature does not fit the body and the secret.
    #[error("the webhook's signature is wrong")]
    Wrong,
    /// There is no secret here, so nothing can be trusted.
    #[error("no webhook secret is set")]
    NoSecret,
}

/// Checks `X-Hub-Signature-256: sha256=HEX` (GitHub, Gitea, Forgejo), or the bare hexadecimal of `X-Gitea-Signature`:
/// HMAC-SHA256 of the body's exact bytes under the shared secret.
///
/// # Errors
/// [`HookError`]; an empty secret refuses everything.
pub fn verify(secret: &[u8], signature: Option<&str>, body: &[u8]) -> Result<(), HookError> {
    if secret.is_empty() {
        return Err(HookError::NoSecret);
    }
    let signature = signature.ok_or(HookError::Unsigned)?.trim();
    let hex = match signature.split_once('=') {
        Some(("sha256", hex)) => hex,
        Some(_) => return Err(HookError::Malformed),
        None => signature,
    };
    let given = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).map_err(|_| HookError::Malformed)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| HookError::NoSecret)?;
    mac.update(body);
    mac.verify_slice(&given).map_err(|_| HookError::Wrong)
}

/// Checks a shared token that is sent as it is (GitLab's `X-Gitlab-Token`).
///
/// # Errors
/// [`HookError`]; an empty secret refuses everything.
pub fn verify_token(secret: &[u8], token: Option<&str>) -> Result<(), HookError> {
    if secret.is_empty() {
        return Err(HookError::NoSecret);
    }
    let token = token.ok_or(HookError::Unsigned)?;
    if bool::from(secret.ct_eq(token.as_bytes())) { Ok(()) } else { Err(HookError::Wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of GitHub's documentation, "Validating webhook deliveries".
    const SECRET: &[u8] = b"It's a Secret to Everybody";
    const HEX: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn a_signature_is_right_only_for_its_secret_and_body() {
        let header = format!("sha256={HEX}");
        let body = b"Hello, World!";
        assert_eq!(verify(SECRET, Some(&header), body), Ok(()));
        assert_eq!(verify(SECRET, Some(HEX), body), Ok(()));
        assert_eq!(verify(SECRET, Some(&header.to_uppercase().replace("SHA256", "sha256")), body), Ok(()));
        for (secret, signature, body, wanted) in [
            (SECRET, Some(header.as_str()), b"Hello, World?".as_slice(), HookError::Wrong),
            (b"another".as_slice(), Some(header.as_str()), body.as_slice(), HookError::Wrong),
            (SECRET, Some(&header[..header.len() - 2]), body, HookError::Wrong),
            (SECRET, None, body, HookError::Unsigned),
            (SECRET, Some("sha1=757107ea"), body, HookError::Malformed),
            (SECRET, Some("sha256=not hexadecimal"), body, HookError::Malformed),
            (SECRET, Some(""), body, HookError::Wrong),
            (b"".as_slice(), Some(header.as_str()), body, HookError::NoSecret),
        ] {
            assert_eq!(verify(secret, signature, body), Err(wanted), "{signature:?}");
        }
    }

    #[test]
    fn a_plain_token_is_compared_whole() {
        assert_eq!(verify_token(b"abc", Some("abc")), Ok(()));
        assert_eq!(verify_token(b"abc", Some("abcd")), Err(HookError::Wrong));
        assert_eq!(verify_token(b"abc", None), Err(HookError::Unsigned));
        assert_eq!(verify_token(b"", Some("")), Err(HookError::NoSecret));
    }
}
