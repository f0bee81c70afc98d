//! Secrets that nothing is given which a document describes, whatever they carry: the installation's own. Who may write documents is less than who holds the
//! keys and the database.
//!
//! Must not know: what asks for a Secret.

use std::collections::BTreeSet;

/// How Helm names the Secrets in which it keeps releases: what a chart rendered, Secrets included, is in them.
const RELEASES: &str = "sh.helm.release.v1.";

/// The names of the installation's own Secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Withheld(BTreeSet<String>);

impl Withheld {
    /// These, and those in which Helm keeps releases.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().filter(|name| !name.is_empty()).collect())
    }

    /// Whether the Secret of that name is one of them.
    pub fn has(&self, secret: &str) -> bool {
        self.0.contains(secret) || secret.starts_with(RELEASES)
    }
}

#[cfg(test)]
mod tests {
    use super::Withheld;

    #[test]
    fn what_is_withheld_is_the_installations_own_and_what_helm_keeps_of_it() {
        let withheld = Withheld::new(["beta-keys".to_owned(), String::new()]);
        let asked = ["beta-keys", "sh.helm.release.v1.beta.v3", "beta-keys-2", "shop-token", ""];
        assert_eq!(asked.map(|secret| withheld.has(secret)), [true, true, false, false, false]);
    }
}
