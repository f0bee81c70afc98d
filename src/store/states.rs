//! States that are kept as words: one enum, one spelling, readable from a column.
//!
//! Must not know: what a state means.

/// Declares an enum whose variants are kept as the given words.
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word it is kept as.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::store::StoreError;
            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    other => Err($crate::store::StoreError::Invalid(format!("no such state: {other}"))),
                }
            }
        }
    };
}
pub(crate) use words;

/// How long to wait before try number `attempts + 1`: doubles from 5 s up to an hour, spread by up to a fifth.
/// `id` spreads the tries, so that what failed together does not come back together.
pub fn backoff(attempts: i64, id: uuid::Uuid) -> jiff::SignedDuration {
    let exponent = u32::try_from(attempts.clamp(1, 16) - 1).unwrap_or(0);
    let whole_ms = (5_000_i64 << exponent).min(3_600_000);
    let share = i64::from(id.as_bytes()[15]) * 200 / 255;
    jiff::SignedDuration::from_millis(whole_ms + whole_ms * share / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_and_is_bounded() {
        let id = uuid::Uuid::nil();
        assert_eq!(backoff(1, id).as_secs(), 5);
        assert_eq!(backoff(3, id).as_secs(), 20);
        assert_eq!(backoff(1_000, id).as_secs(), 3_600);
        assert_eq!(backoff(0, uuid::Uuid::max()).as_secs(), 6);
    }
}
