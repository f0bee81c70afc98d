//! Addresses made unreadable in texts that others may see.
//!
//! Must not know: which texts those are.

use std::sync::LazyLock;

use regex::Regex;

/// What looks like an address anywhere in a text. Wider than what is accepted as one: better a word too many than an address too few.
static ADDRESS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"[^\s@<>(),;:"'`=|\\/\[\]{}]+@[^\s@<>(),;:"'`|\\/\[\]{}]+"#).ok());

/// The first character and the domain of an address: `a…@example.com`.
pub fn mask(address: &str) -> String {
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    let first = local.chars().next().map(String::from).unwrap_or_default();
    if domain.is_empty() { format!("{first}…") } else { format!("{first}…@{domain}") }
}

/// A text with every address in it masked.
pub fn masked(text: &str) -> String {
    match ADDRESS.as_ref() {
        Some(address) if text.contains('@') => {
            address.replace_all(text, |found: &regex::Captures<'_>| mask(&found[0])).into_owned()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_keeps_its_first_character_and_its_domain() {
        for (written, shown) in [
            ("ada@example.com", "a…@example.com"),
            ("émile.zola@example.org", "é…@example.org"),
            ("a+b@c", "a…@c"),
            ("no address", "n…"),
        ] {
            assert_eq!(mask(written), shown);
        }
        assert_eq!(
            masked("mail \"Ana <ana@example.com>\", bob@example.org; and `c.d@example.com`: [x@y]"),
            "mail \"Ana <a…@example.com>\", b…@example.org; and `c…@example.com`: [x…@y]"
        );
    }

    proptest! {
        #[test]
        fn no_local_part_of_more_than_one_character_is_left(local in "[a-z]{2,9}(\\.[a-z]{1,5})?", before in "[ ,:<\"(]?", after in "[ ,:>\")]?") {
            let text = masked(&format!("x{before}{local}@example.com{after}"));
            let whole = format!("{local}@");
            prop_assert!(!text.contains(&whole), "{}", text);
        }
    }
}
