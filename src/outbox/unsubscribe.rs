//! The key in an unsubscribing link: an invite's id and a keyed hash of it. No address stands in it, and nobody can make one.
//!
//! Must not know: what unsubscribing does.

use data_encoding::BASE32_NOPAD;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::keys::Key;

/// How much of the keyed hash stands in the link.
const PROOF: usize = 16;

/// The key of an invite.
pub fn make(key: &Key, invite: Uuid) -> String {
    let mut bytes = invite.as_bytes().to_vec();
    bytes.extend(proof(key, invite));
    BASE32_NOPAD.encode(&bytes).to_lowercase()
}

/// The invite of a key; none when it was not made here.
pub fn read(key: &Key, text: &str) -> Option<Uuid> {
    let bytes = BASE32_NOPAD.decode(text.trim().to_uppercase().as_bytes()).ok()?;
    let (id, given) = bytes.split_at_checked(16)?;
    let invite = Uuid::from_slice(id).ok()?;
    bool::from(given.ct_eq(&proof(key, invite))).then_some(invite)
}

/// The address that a message carries: a page for people, and where mail programs send their POST.
pub fn link(base: &str, key: &Key, invite: Uuid) -> String {
    format!("{}/unsubscribe?key={}", base.trim_end_matches('/'), make(key, invite))
}

fn proof(key: &Key, invite: Uuid) -> [u8; PROOF] {
    let mut message = b"unsubscribe/".to_vec();
    message.extend(invite.as_bytes());
    let mut proof = [0; PROOF];
    proof.copy_from_slice(&key.hash(&message)[..PROOF]);
    proof
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

    use super::*;

    #[test]
    fn a_link_names_one_invite_and_cannot_be_made_without_the_key() {
        let (key, other) = (Key::new([1; 32]), Key::new([2; 32]));
        let (invite, another) = (Uuid::now_v7(), Uuid::now_v7());
        let made = make(&key, invite);
        assert_eq!(read(&key, &made), Some(invite));
        assert_eq!(read(&key, &made.to_uppercase()), Some(invite));
        assert_eq!(read(&other, &made), None);
        let mut forged = another.as_bytes().to_vec();
        forged.extend(&BASE32_NOPAD.decode(made.to_uppercase().as_bytes()).unwrap()[16..]);
        assert_eq!(read(&key, &BASE32_NOPAD.encode(&forged)), None);
        for broken in ["", "ada@example.com", &made[..20], &format!("{made}aa")] {
            assert_eq!(read(&key, broken), None, "{broken}");
        }
        assert!(
            link("https://beta.example.com/", &key, invite).starts_with("https://beta.example.com/unsubscribe?key=")
        );
    }
}
