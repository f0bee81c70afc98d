//! What the tester pages say, one file a language. A language that lacks a text does not compile.
//!
//! Must not know: which page says it.

mod de;
mod en;
mod fr;
mod it;

use axum::http::{HeaderMap, header};

macro_rules! texts {
    ($($(#[$about:meta])* $name:ident,)*) => {
        /// Every text, in one language.
        pub struct Texts {
            /// The language's tag (BCP 47).
            pub tag: &'static str,
            $($(#[$about])* pub $name: &'static str,)*
        }

        impl Texts {
            /// Every text with its name.
            #[cfg(test)]
            fn all(&self) -> Vec<(&'static str, &'static str)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

texts! {
    /// The page's title and heading.
    heading,
    /// Names the field of the code.
    code,
    /// Names the field of the address.
    address,
    /// Names the field of the password.
    password,
    /// The button that lets in.
    join,
    /// They are in.
    welcome,
    /// There is no code.
    need_code,
    /// Heads the part for those without a code that works.
    link_heading,
    /// Says what it does.
    link_words,
    /// Its button.
    link_button,
    /// Everybody's answer.
    link_asked,
    /// Not this person's code, or none.
    invalid,
    /// It was used.
    used,
    /// It was taken back.
    revoked,
    /// It ran out.
    expired,
    /// The beta is paused.
    frozen,
    /// The group is not open.
    closed,
    /// They wait for a place.
    full,
    /// There is no place.
    no_place,
    /// The code for several people has let in as many as it does.
    used_up,
    /// They have an account.
    account_exists,
    /// They need no code, and can't register with this address.
    unavailable,
    /// The password is too short or too long.
    password_rule,
    /// It was tried too often.
    too_many,
    /// Something else went wrong.
    other,
    /// Heads the page that ends mail.
    unsubscribe_heading,
    /// Says what its button does.
    unsubscribe_words,
    /// Its button.
    unsubscribe_button,
    /// It is done.
    unsubscribed,
    /// The link is none of ours.
    unsubscribe_unknown,
    /// It could not be recorded.
    unsubscribe_later,
}

impl Texts {
    /// What to say of a refusal, by its word in the API's problem documents.
    pub fn refusal(&self, code: &str) -> Option<&'static str> {
        Some(match code {
            "invite-invalid" => self.invalid,
            "invite-used" => self.used,
            "invite-revoked" => self.revoked,
            "invite-expired" => self.expired,
            "invite-required" => self.need_code,
            "frozen" => self.frozen,
            "cohort-closed" => self.closed,
            "full" => self.full,
            "no-place" => self.no_place,
            "code-used-up" => self.used_up,
            "account-exists" => self.account_exists,
            "address-unavailable" => self.unavailable,
            "password" => self.password_rule,
            "too-many" | "busy" => self.too_many,
            _ => return None,
        })
    }
}

/// The languages there are; the first is spoken to everyone else.
const LANGUAGES: [&Texts; 4] = [&en::TEXTS, &it::TEXTS, &fr::TEXTS, &de::TEXTS];

/// The texts for someone: in the language that their invite names, else in the one that their browser asks for.
pub fn texts_for(locale: Option<&str>, headers: &HeaderMap) -> &'static Texts {
    let asked = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut asked: Vec<(&str, f32)> = asked.split(',').filter_map(preference).collect();
    // The order in which they are named decides between equals.
    asked.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let wanted = locale.into_iter().chain(asked.into_iter().map(|(tag, _)| tag));
    wanted.filter_map(known).next().unwrap_or(LANGUAGES[0])
}

/// One language of an Accept-Language and how much it is wanted; not those that are not wanted at all.
fn preference(part: &str) -> Option<(&str, f32)> {
    let (tag, wanted) = part.split_once(';').unwrap_or((part, ""));
    let wanted = wanted.trim().strip_prefix("q=").map_or(Some(1.0), |quality| quality.parse().ok())?;
    (wanted > 0.0).then_some((tag.trim(), wanted))
}

/// The texts of a tag such as `it`, `fr-CH` or `de_AT`.
fn known(tag: &str) -> Option<&'static Texts> {
    let language = tag.split(['-', '_']).next().unwrap_or_default();
    LANGUAGES.into_iter().find(|texts| texts.tag.eq_ignore_ascii_case(language.trim()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::api::refusal_word;
    use crate::store::invites::Refusal;

    #[test]
    fn every_language_has_every_text_in_its_own_words() {
        for texts in LANGUAGES {
            for ((name, text), (_, english)) in texts.all().into_iter().zip(en::TEXTS.all()) {
                assert!(text.trim().len() > 2, "{}: {name}", texts.tag);
                assert!(texts.tag == "en" || text != english || name == "password", "{}: {name} is English", texts.tag);
            }
        }
    }

    #[test]
    fn every_refusal_has_words_of_its_own_in_every_language() {
        for texts in LANGUAGES {
            let mut said: Vec<&str> =
                Refusal::ALL.iter().map(|refusal| texts.refusal(refusal_word(*refusal)).unwrap()).collect();
            said.sort_unstable();
            said.dedup();
            assert_eq!(said.len(), Refusal::ALL.len(), "{}", texts.tag);
        }
    }

    #[test]
    fn an_invites_language_comes_before_the_browsers_and_english_after() {
        let with = |asked: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, asked.parse().unwrap());
            headers
        };
        for (locale, asked, wanted) in [
            (Some("it"), "de", "it"),
            (Some("fr-CH"), "", "fr"),
            (Some("de_AT"), "", "de"),
            (Some("pt"), "fr;q=0.5, de;q=0.9, en;q=0.1", "de"),
            (Some(""), "IT-ch", "it"),
            (None, "es, *;q=0.5", "en"),
            (None, "de;q=0, fr", "fr"),
            (None, "de;q=x, ,;;", "en"),
            (None, "", "en"),
        ] {
            assert_eq!(texts_for(locale, &with(asked)).tag, wanted, "{locale:?} {asked}");
        }
    }
}
