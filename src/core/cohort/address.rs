//! Mail addresses: which ones are well formed, and the one form in which they are compared.
//!
//! Must not know: lists, databases. Faults never carry the address itself, so that they may be logged.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

/// The longest address and the longest local part, in bytes (RFC 5321, section 4.5.3.1).
const MAX_ADDRESS: usize = 254;
const MAX_LOCAL: usize = 64;

/// Which spellings a program takes for one person; both off means that only case, Unicode form and IDN are evened out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressRules {
    /// Dots in the local part don't count at Google's domains (`a.da@gmail.com` is `ada@gmail.com`).
    pub ignore_dots: bool,
    /// What follows a `+` in the local part doesn't count (`ada+beta@…` is `ada@…`).
    pub ignore_plus: bool,
}

/// Why a text is not an address that mail can go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressFault {
    /// Nothing there.
    #[error("the address is empty")]
    Empty,
    /// No `@`, or more than one.
    #[error("an address has exactly one @")]
    At,
    /// Longer than mail allows.
    #[error("the address is longer than mail allows (64 before the @, 254 in all)")]
    TooLong,
    /// Nothing, a misplaced dot or a character that is not allowed before the `@`.
    #[error("the part before the @ is not well formed")]
    Local,
    /// The domain is not one.
    #[error("the part after the @ is not a domain name")]
    Domain,
}

/// The form in which addresses are compared: lower case, NFC, an international domain in its ASCII form.
///
/// # Errors
/// [`AddressFault`] when the text is not a well formed address.
pub fn normalise(text: &str, rules: AddressRules) -> Result<String, AddressFault> {
    normalise_cow(text, rules).map(Cow::into_owned)
}

/// [`normalise`], borrowing an address that is written in its compared form already.
pub(super) fn normalise_cow(text: &str, rules: AddressRules) -> Result<Cow<'_, str>, AddressFault> {
    if rules == AddressRules::default() && is_usual(text.as_bytes()) {
        return Ok(Cow::Borrowed(text));
    }
    normalise_any(text, rules)
}

/// Whether an address is well formed and in its compared form already, seen in one pass: the usual one of a long list, made of lower-case
/// letters, digits, dots, dashes, underscores and plus signs. Whatever else there is takes the long way.
fn is_usual(text: &[u8]) -> bool {
    let Some(at) = memchr::memchr(b'@', text) else { return false };
    let (local, domain) = (&text[..at], &text[at + 1..]);
    if local.len() > MAX_LOCAL || text.len() > MAX_ADDRESS {
        return false;
    }
    let mut before = b'.';
    for byte in local {
        let fits = match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'+' | b'-' => true,
            b'.' => before != b'.',
            _ => false,
        };
        if !fits {
            return false;
        }
        before = *byte;
    }
    before != b'.' && is_usual_domain(domain)
}

fn is_usual_domain(domain: &[u8]) -> bool {
    let (mut labels, mut start, mut digits) = (1, 0, true);
    for (at, byte) in domain.iter().enumerate() {
        match byte {
            b'a'..=b'z' => digits = false,
            b'0'..=b'9' => {}
            b'.' if at > start && at - start <= 63 => {
                labels += 1;
                start = at + 1;
                digits = true;
            }
            // A dash may be part of an encoded label.
            _ => return false,
        }
    }
    labels > 1 && domain.len() > start && domain.len() - start <= 63 && !digits
}

fn normalise_any(text: &str, rules: AddressRules) -> Result<Cow<'_, str>, AddressFault> {
    let text = text.trim();
    if text.is_empty() {
        return Err(AddressFault::Empty);
    }
    let (local, domain) = text.split_once('@').ok_or(AddressFault::At)?;
    if domain.contains('@') {
        return Err(AddressFault::At);
    }
    let local = lower(local);
    check_local(&local)?;
    let domain = ascii_domain(domain)?;
    if text.len() > MAX_ADDRESS {
        return Err(AddressFault::TooLong);
    }
    let as_written = matches!((&local, &domain), (Cow::Borrowed(_), Cow::Borrowed(_)));
    if as_written && !rules.ignore_dots && !rules.ignore_plus {
        return Ok(Cow::Borrowed(text));
    }
    let mut normalised = String::with_capacity(local.len() + 1 + domain.len());
    push_local(&mut normalised, &local, &domain, rules)?;
    normalised.push('@');
    normalised.push_str(if rules.ignore_dots && domain == "googlemail.com" { "gmail.com" } else { &domain });
    if normalised.len() > MAX_ADDRESS { Err(AddressFault::TooLong) } else { Ok(Cow::Owned(normalised)) }
}

fn lower(local: &str) -> Cow<'_, str> {
    if !local.is_ascii() {
        let lower: String = local.nfc().flat_map(char::to_lowercase).collect();
        return Cow::Owned(lower.nfc().collect());
    }
    if local.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(local.to_ascii_lowercase());
    }
    Cow::Borrowed(local)
}

fn check_local(local: &str) -> Result<(), AddressFault> {
    if local.len() > MAX_LOCAL {
        return Err(AddressFault::TooLong);
    }
    let bytes = local.as_bytes();
    let dots_fit = bytes.first().is_some_and(|byte| *byte != b'.')
        && bytes.last() != Some(&b'.')
        && !bytes.windows(2).any(|pair| pair == b"..");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || b"!#$%&'*+/=?^_`{|}~-".contains(&byte);
    let letter = |c: char| c.is_alphanumeric() || unicode_normalization::char::is_combining_mark(c);
    let allowed = if local.is_ascii() {
        bytes.iter().copied().all(plain)
    } else {
        local.chars().all(|c| {
            u8::try_from(c).map_or_else(|_| letter(c), |byte| if c.is_ascii() { plain(byte) } else { letter(c) })
        })
    };
    if dots_fit && allowed { Ok(()) } else { Err(AddressFault::Local) }
}

fn push_local(into: &mut String, local: &str, domain: &str, rules: AddressRules) -> Result<(), AddressFault> {
    let kept = match local.split_once('+') {
        Some((kept, _)) if rules.ignore_plus => kept,
        _ => local,
    };
    if rules.ignore_dots && matches!(domain, "gmail.com" | "googlemail.com") {
        into.extend(kept.chars().filter(|c| *c != '.'));
    } else {
        into.push_str(kept);
    }
    if into.is_empty() { Err(AddressFault::Local) } else { Ok(()) }
}

/// The domain in lower-case ASCII; at least two labels, and the last one not a number.
fn ascii_domain(domain: &str) -> Result<Cow<'_, str>, AddressFault> {
    let plain =
        domain.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
    let ascii = if plain && !(domain.as_bytes().contains(&b'-') && domain.contains("xn--")) {
        Cow::Borrowed(domain)
    } else {
        idna::domain_to_ascii_cow(domain.as_bytes(), idna::AsciiDenyList::STD3).map_err(|_| AddressFault::Domain)?
    };
    let mut labels = 0;
    let mut last = "";
    for label in ascii.split('.') {
        if label.is_empty() || label.len() > 63 || label.starts_with('-') || label.ends_with('-') {
            return Err(AddressFault::Domain);
        }
        labels += 1;
        last = label;
    }
    if labels < 2 || last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AddressFault::Domain);
    }
    Ok(ascii)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(text: &str) -> Result<String, AddressFault> {
        normalise(text, AddressRules::default())
    }

    #[test]
    fn case_and_unicode_form_and_idn_do_not_make_another_person() {
        assert_eq!(plain(" Ada.Lovelace@Example.COM ").unwrap(), "ada.lovelace@example.com");
        assert_eq!(plain("jose\u{301}@example.com").unwrap(), plain("JOS\u{c9}@example.com").unwrap());
        assert_eq!(plain("ada@Bücher.example").unwrap(), "ada@xn--bcher-kva.example");
        assert_eq!(plain("ada@XN--BCHER-KVA.example").unwrap(), "ada@xn--bcher-kva.example");
    }

    #[test]
    fn dots_and_aliases_count_unless_the_program_says_otherwise() {
        let rules = AddressRules { ignore_dots: true, ignore_plus: true };
        assert_eq!(normalise("a.d.a+beta@googlemail.com", rules).unwrap(), "ada@gmail.com");
        assert_eq!(normalise("a.da+beta@example.com", rules).unwrap(), "a.da@example.com");
        assert_eq!(plain("a.da+beta@gmail.com").unwrap(), "a.da+beta@gmail.com");
        assert_eq!(normalise("+x@example.com", rules), Err(AddressFault::Local));
    }

    #[test]
    fn what_mail_cannot_reach_is_refused() {
        for (text, fault) in [
            ("", AddressFault::Empty),
            ("ada", AddressFault::At),
            ("a@b@example.com", AddressFault::At),
            ("@example.com", AddressFault::Local),
            (".ada@example.com", AddressFault::Local),
            ("a..da@example.com", AddressFault::Local),
            ("a da@example.com", AddressFault::Local),
            ("a\r\nBcc: x@example.com", AddressFault::Local),
            ("ada@example", AddressFault::Domain),
            ("ada@-example.com", AddressFault::Domain),
            ("ada@exam ple.com", AddressFault::Domain),
            ("ada@127.0.0.1", AddressFault::Domain),
            ("ada@example..com", AddressFault::Domain),
        ] {
            assert_eq!(plain(text), Err(fault), "{text:?}");
        }
        assert_eq!(plain(&format!("{}@example.com", "a".repeat(65))), Err(AddressFault::TooLong));
    }

    proptest! {
        #[test]
        fn the_short_way_gives_what_the_long_way_gives(text in "[a-dA-D0-1._+@é -]{0,12}@?[a-d0-1.-]{0,10}(\\.com|\\.xn--p1ai|\\.7)?") {
            let rules = AddressRules::default();
            prop_assert_eq!(normalise_cow(&text, rules), normalise_any(&text, rules));
        }
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(local in "[a-zA-Z0-9àÉßΩ.+_-]{1,20}", domain in "[a-zA-Z0-9é-]{1,12}\\.(com|example)") {
            if let Ok(once) = plain(&format!("{local}@{domain}")) {
                prop_assert_eq!(plain(&once).unwrap(), once);
            }
        }
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}") {
            let _ = plain(&text);
        }
    }
}
