//! Invite codes: 160 bits that can be made again from a key, an invite and its generation.
//!
//! Must not know: where the key is kept, which invites there are.

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A code as it is mailed: 32 base32 characters. Only its [digest](InviteCode::digest) is ever stored.
#[derive(Clone)]
pub struct InviteCode([u8; 20]);

impl InviteCode {
    /// The first 160 bits of HMAC-SHA256(key, id ‖ generation); resending raises the generation, so that an older
    /// message's code stops working.
    pub fn make(key: &[u8; 32], invite_id: [u8; 16], generation: u32) -> Self {
        let mut code = [0; 20];
        // An HMAC takes a key of any length: this cannot fail.
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) {
            mac.update(&invite_id);
            mac.update(&generation.to_be_bytes());
            code.copy_from_slice(&mac.finalize().into_bytes()[..20]);
        }
        Self(code)
    }

    /// What a person typed or a link carried: any case, spaces and hyphens anywhere. `None` when it is no code at all.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > 128 {
            return None;
        }
        let letters: String =
            text.chars().filter(|c| !c.is_whitespace() && *c != '-').map(|c| c.to_ascii_uppercase()).collect();
        let bytes = BASE32_NOPAD.decode(letters.as_bytes()).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// The text that goes into a message. Call it nowhere else.
    pub fn reveal(&self) -> String {
        BASE32_NOPAD.encode(&self.0)
    }

    /// What is stored: SHA-256 of the code, in hexadecimal. The code has 160 bits of its own, so no salt is needed.
    pub fn digest(&self) -> String {
        data_encoding::HEXLOWER.encode(&Sha256::digest(self.0))
    }

    /// Whether two codes are the same, in a time that doesn't tell how much of them is.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl std::fmt::Debug for InviteCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InviteCode(…)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_made_again_from_its_parts_and_read_back_however_it_is_typed() {
        let code = InviteCode::make(&[7; 32], [1; 16], 1);
        let text = code.reveal();
        assert_eq!(text.len(), 32);
        assert!(InviteCode::make(&[7; 32], [1; 16], 1).matches(&code));
        let typed = format!(" {}-{} ", text[..16].to_lowercase(), &text[16..]);
        assert!(InviteCode::parse(&typed).unwrap().matches(&code));
        assert_eq!(InviteCode::parse(&typed).unwrap().digest(), code.digest());
    }

    #[test]
    fn key_invite_and_generation_each_change_the_code() {
        let code = InviteCode::make(&[7; 32], [1; 16], 1);
        for other in [
            InviteCode::make(&[8; 32], [1; 16], 1),
            InviteCode::make(&[7; 32], [2; 16], 1),
            InviteCode::make(&[7; 32], [1; 16], 2),
        ] {
            assert!(!other.matches(&code));
        }
    }

    #[test]
    fn what_is_no_code_is_refused_and_none_is_shown() {
        for text in
            ["", "ABC", "0189", &"A".repeat(31), &"A".repeat(40), &"A".repeat(4000), "ÀAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]
        {
            assert!(InviteCode::parse(text).is_none(), "{text}");
        }
        assert_eq!(format!("{:?}", InviteCode::make(&[7; 32], [1; 16], 1)), "InviteCode(…)");
    }
}
