//! Mail domains that hand out throw-away addresses: a warning, never a refusal.

/// Well-known services, sorted; subdomains count too. A cohort may name more (see [`super::ListOptions`]).
const DOMAINS: &[&str] = &[
    "10minutemail.com",
    "10minutemail.net",
    "20minutemail.com",
    "33mail.com",
    "anonbox.net",
    "burnermail.io",
    "byom.de",
    "deadaddress.com",
    "discard.email",
    "discardmail.com",
    "dispostable.com",
    "dropmail.me",
    "emailondeck.com",
    "emailtemporanea.net",
    "fakeinbox.com",
    "fakemail.net",
    "getairmail.com",
    "getnada.com",
    "grr.la",
    "guerrillamail.biz",
    "guerrillamail.com",
    "guerrillamail.de",
    "guerrillamail.info",
    "guerrillamail.net",
    "guerrillamail.org",
    "guerrillamailblock.com",
    "inboxbear.com",
    "inboxkitten.com",
    "incognitomail.org",
    "jetable.org",
    "mail-temp.com",
    "mail-temporaire.fr",
    "mail7.io",
    "mailcatch.com",
    "maildrop.cc",
    "mailexpire.com",
    "mailinator.com",
    "mailinator.net",
    "mailnesia.com",
    "mailnull.com",
    "mailsac.com",
    "mintemail.com",
    "moakt.com",
    "mohmal.com",
    "mytemp.email",
    "mytrashmail.com",
    "nada.email",
    "pokemail.net",
    "sharklasers.com",
    "spam4.me",
    "spambog.com",
    "spambox.us",
    "spamgourmet.com",
    "temp-mail.io",
    "temp-mail.org",
    "tempail.com",
    "tempinbox.com",
    "tempmail.com",
    "tempmail.dev",
    "tempmail.net",
    "tempmailo.com",
    "tempr.email",
    "throwawaymail.com",
    "tmpmail.net",
    "tmpmail.org",
    "trash-mail.com",
    "trashmail.com",
    "trashmail.de",
    "trashmail.net",
    "wegwerfmail.de",
    "yopmail.com",
    "yopmail.fr",
    "yopmail.net",
];

/// How many verdicts a [`Memo`] keeps.
const KEPT: usize = 4096;

/// Verdicts on domains, kept because a list has many rows and few domains.
#[derive(Default)]
pub(super) struct Memo(std::collections::HashMap<String, bool>);

impl Memo {
    /// [`is_disposable`], looked up once for each domain.
    pub(super) fn is_disposable(&mut self, domain: &str, more: &[String]) -> bool {
        if let Some(verdict) = self.0.get(domain) {
            return *verdict;
        }
        let verdict = is_disposable(domain, more);
        if self.0.len() < KEPT {
            self.0.insert(domain.to_owned(), verdict);
        }
        verdict
    }
}

/// Whether a normalised domain, or one it is under, is a known throw-away service or one of `more`.
pub fn is_disposable(domain: &str, more: &[String]) -> bool {
    let mut rest = domain;
    loop {
        if DOMAINS.binary_search(&rest).is_ok() || more.iter().any(|one| one == rest) {
            return true;
        }
        match rest.split_once('.') {
            Some((_, parent)) if parent.contains('.') => rest = parent,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_reaches_subdomains() {
        assert!(DOMAINS.is_sorted());
        assert!(is_disposable("mailinator.com", &[]));
        assert!(is_disposable("a.b.yopmail.fr", &[]));
        assert!(!is_disposable("example.com", &[]));
        assert!(is_disposable("x.example.com", &["example.com".to_owned()]));
    }
}
