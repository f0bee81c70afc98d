//! flagd's `sem_ver`: `[version, operator, version]`.

use semver::Version;
use serde_json::Value;

/// Whether `left operator right` holds for two semantic versions; none when one is no version or the operator is unknown.
pub fn compare(left: &Value, operator: &Value, right: &Value) -> Option<bool> {
    let (left, right) = (read(left)?, read(right)?);
    Some(match operator.as_str()? {
        "=" | "==" => left.cmp_precedence(&right).is_eq(),
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

/// A version, with a leading v and missing parts allowed.
fn read(value: &Value) -> Option<Version> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let text = text.trim().trim_start_matches(['v', 'V']);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (core, rest) = text.split_at(end);
    let padded = match core.split('.').count() {
        1 => format!("{core}.0.0{rest}"),
        2 => format!("{core}.0{rest}"),
        _ => text.to_owned(),
    };
    Version::parse(&padded).ok()
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
            assert_eq!(compare(&json!(left), &json!(operator), &json!(right)), holds, "{left} {operator} {right}");
        }
    }
}
