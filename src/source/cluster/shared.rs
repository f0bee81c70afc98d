//! Texts of which many are the same, each kept once: the statuses of ten thousand resources, written within the same seconds, say few different things.
//!
//! Must not know: what they say.

use std::collections::HashSet;
use std::sync::Arc;

/// So many texts are kept before it is looked which of them nobody has any more.
const FEW: usize = 256;

#[derive(Default)]
pub(super) struct Shared {
    texts: HashSet<Arc<str>>,
    /// At how many texts it is looked again.
    full: usize,
}

impl Shared {
    /// The same text, as somebody else has it already.
    pub(super) fn share(&mut self, text: Arc<str>) -> Arc<str> {
        if let Some(known) = self.texts.get(&text) {
            return known.clone();
        }
        if self.texts.len() >= self.full.max(FEW) {
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            self.full = 2 * self.texts.len();
        }
        self.texts.insert(text.clone());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_twice_is_kept_once_and_what_nobody_says_any_more_is_let_go() {
        let mut shared = Shared::default();
        let first = shared.share("the same".into());
        assert!(Arc::ptr_eq(&first, &shared.share("the same".into())));
        for n in 0..10 * FEW {
            shared.share(n.to_string().into());
        }
        assert!(shared.texts.len() <= FEW, "{}", shared.texts.len());
        assert!(Arc::ptr_eq(&first, &shared.share("the same".into())));
    }
}
