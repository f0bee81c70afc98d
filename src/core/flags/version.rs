//! flagd's `sem_ver`: `[version, operator, version]`.

use semver::Version;
use serde_json::Value;

use super::bucket::Generation;
use super::{javascript, python};

/// Whether `left operator right` holds for two semantic versions; none when one is no version or the operator is unknown.
pub fn compare(generation: Generation, left: &Value, operator: &Value, right: &Value) -> Option<bool> {
    let read = |value| if generation == Generation::Concat { lenient(value) } else { padded(value) };
    let (left, right) = (read(left)?, read(right)?);
    Some(match operator.as_str()? {
        "=" => left.cmp_precedence(&right).is_eq(),
        "!=" => left.cmp_precedence(&right).is_ne(),
        "<" => left.cmp_precedence(&right).is_lt(),
        "<=" => left.cmp_precedence(&right).is_le(),
        ">" => left.cmp_precedence(&right).is_gt(),
        ">=" => left.cmp_precedence(&right).is_ge(),
        "^" => left.major == right.major,
        "~" => left.major == right.major && left.minor == right.minor,
        _ => return None,
    })
}

/// A version with a leading v, or one or two plain numbers.
fn lenient(value: &Value) -> Option<Version> {
    let text = javascript::text(value);
    let text = text.strip_prefix(['v', 'V']).unwrap_or(&text);
    let trimmed = text.trim();
    if let Ok(version) = Version::parse(trimmed.strip_prefix('v').unwrap_or(trimmed)) {
        return Some(version);
    }
    let plain = text.split('.').all(|part| !part.is_empty() && part.bytes().all(|digit| digit.is_ascii_digit()));
    match text.split('.').count() {
        1 if plain => Version::parse(&format!("{text}.0.0")).ok(),
        2 if plain => Version::parse(&format!("{text}.0")).ok(),
        _ => None,
    }
}

/// A version with a leading v, whose missing numbers are 0 whatever follows them.
fn padded(value: &Value) -> Option<Version> {
    let text = python::name(value);
    let text = text.strip_prefix(['v', 'V']).unwrap_or(&text);
    let (core, rest) = text.split_at(text.find(['-', '+']).unwrap_or(text.len()));
    let missing = ".0".repeat(2_usize.saturating_sub(core.matches('.').count()));
    Version::parse(&format!("{core}{missing}{rest}")).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions_compare_by_precedence_and_range() {
        for (left, operator, right, holds) in [
            ("1.2.3", ">=", "1.2.0", Some(true)),
            ("v1.2", "=", "1.2.0", Some(true)),
            ("1.0.0-beta.1", "<", "1.0.0", Some(true)),
            ("1.9.0", "^", "1.2.0", Some(true)),
            ("1.9.0", "~", "1.2.0", Some(false)),
            ("x", "=", "1.0.0", None),
            ("1.0.0", "=>", "1.0.0", None),
        ] {
            for generation in [Generation::Concat, Generation::Cbor] {
                let held = compare(generation, &json!(left), &json!(operator), &json!(right));
                assert_eq!(held, holds, "{left} {operator} {right}");
            }
        }
    }
}
