//! Keyed hashes in place of addresses: an allowlist that holds nobody's address, and to which no mail can go.
//!
//! Must not know: the key, or where it is kept.

use data_encoding::HEXLOWER_PERMISSIVE;

use super::fault::Fault;

/// How the hash of an address begins where an address is compared.
const MARK: &str = "hash:";
/// Hexadecimal digits of a key's id, and of a hash.
const KEY_DIGITS: usize = 8;
const HASH_DIGITS: usize = 64;

/// A keyed hash as it stands in a list.
pub(super) struct Hashed<'a> {
    /// The id of its key.
    pub(super) key: &'a str,
    /// As it is compared.
    pub(super) norm: String,
}

/// Reads `KEY:HASH`.
pub(super) fn hashed(text: &str) -> Result<Hashed<'_>, Fault> {
    let is_hex = |text: &str, digits| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.split_once(':') {
        Some((key, hash)) if is_hex(key, KEY_DIGITS) && is_hex(hash, HASH_DIGITS) => {
            Ok(Hashed { key, norm: format!("{MARK}{}", hash.to_ascii_lowercase()) })
        }
        _ => Err(Fault::NotHash),
    }
}

/// A keyed hash as a list has it: `KEY:HASH`.
pub fn hash_text(key_id: &str, hash: &[u8; 32]) -> String {
    format!("{key_id}:{}", data_encoding::HEXLOWER.encode(hash))
}

/// What stands in place of an address, for whoever is known by a keyed hash only.
pub fn hash_norm(hash: &[u8; 32]) -> String {
    format!("{MARK}{}", data_encoding::HEXLOWER.encode(hash))
}

/// The keyed hash behind [`hash_norm`]; `None` for an address.
pub fn hash_of_norm(email_norm: &str) -> Option<[u8; 32]> {
    let digits = email_norm.strip_prefix(MARK)?;
    HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_back_and_nothing_else_is_one() {
        let text = hash_text("0a1b2c3d", &[7; 32]);
        let read = hashed(&text).unwrap();
        assert_eq!((read.key, read.norm.as_str()), ("0a1b2c3d", hash_norm(&[7; 32]).as_str()));
        assert_eq!(hash_of_norm(&read.norm), Some([7; 32]));
        assert_eq!(hashed(&text.to_uppercase()).unwrap().norm, read.norm);
        for text in ["", "ada@example.com", "0a1b2c3d:", "0a1b2c3d", &text[1..], &text[..text.len() - 1], "hash:aa"] {
            assert!(hashed(text).is_err(), "{text}");
        }
        // No address can be taken for a hash: it has an @.
        assert_eq!(hash_of_norm("hash:ada@example.com"), None);
    }
}
