//! Which share of people someone falls into: flagd's two generations of bucketing.
//!
//! Must not know: rules, variants.

use serde_json::Value;

/// The generation of the hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Generation {
    /// murmur3-32 of the flag's key directly followed by the targeting key, or of a string to bucket by.
    #[default]
    Concat,
    /// murmur3-32 of the canonical CBOR of `[flag key, targeting key]`, or of a value of any type to bucket by.
    Cbor,
}

impl Generation {
    /// The one of a definition.
    pub fn of(definition: &Value) -> Self {
        if definition["bucketing"].as_str() == Some("cbor") { Self::Cbor } else { Self::Concat }
    }
}

/// The largest sum of weights.
pub const MAX_TOTAL: i64 = (1 << 31) - 1;

/// What is hashed.
pub enum Subject<'a> {
    /// Flag key and targeting key.
    Keys(&'a str, &'a str),
    /// What a rule says to bucket by.
    By(&'a Value),
}

/// The hash of a subject; none when the generation cannot take it (`concat` takes strings only).
pub fn hash(generation: Generation, subject: &Subject<'_>) -> Option<u32> {
    let mut bytes = Vec::with_capacity(64);
    match (generation, subject) {
        (Generation::Concat, Subject::Keys(flag, person)) if !(flag.is_ascii() && person.is_ascii()) => {
            return Some(by_letters(&flag.encode_utf16().chain(person.encode_utf16()).collect::<Vec<_>>()));
        }
        (Generation::Concat, Subject::By(Value::String(text))) if !text.is_ascii() => {
            return Some(by_letters(&text.encode_utf16().collect::<Vec<_>>()));
        }
        (Generation::Concat, Subject::Keys(flag, person)) => {
            bytes.extend_from_slice(flag.as_bytes());
            bytes.extend_from_slice(person.as_bytes());
        }
        (Generation::Concat, Subject::By(value)) => bytes.extend_from_slice(value.as_str()?.as_bytes()),
        (Generation::Cbor, Subject::Keys(flag, person)) => {
            head(&mut bytes, 4, 2);
            text(&mut bytes, flag);
            text(&mut bytes, person);
        }
        (Generation::Cbor, Subject::By(value)) => cbor(&mut bytes, value),
    }
    Some(murmurhash3::murmurhash3_x86_32(&bytes, 0))
}

/// murmur3-32 as the first generation's evaluator has it for a text that is not ASCII: over UTF-16 letters, each of which counts as one byte
/// that runs over into the next ones.
fn by_letters(letters: &[u16]) -> u32 {
    let mix = |block: u32| block.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let letter = |letters: &[u16], place: usize| letters.get(place).copied().map_or(0, u32::from);
    let low = |letters: &[u16]| letter(letters, 0) ^ (letter(letters, 1) << 8) ^ (letter(letters, 2) << 16);
    let (mut hash, mut blocks) = (0_u32, letters.chunks_exact(4));
    for block in &mut blocks {
        let top = letter(block, 3);
        hash ^= mix(low(block) ^ ((top & 0xff) << 24) ^ ((top & 0xff00) >> 8));
        hash = hash.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let rest = low(blocks.remainder());
    // It takes what is left for a signed number, and leaves out a negative one.
    if rest != 0 && rest < 1 << 31 {
        hash ^= mix(rest);
    }
    hash ^= u32::try_from(letters.len()).unwrap_or(u32::MAX);
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

/// The place in `0..total` that a hash falls on: `(hash × total) >> 32`.
pub fn place(hash: u32, total: i64) -> i64 {
    let scaled = (u128::from(hash) * u128::try_from(total.max(0)).unwrap_or(0)) >> 32;
    i64::try_from(scaled).unwrap_or(0)
}

fn head(bytes: &mut Vec<u8>, major: u8, count: u64) {
    let major = major << 5;
    match count {
        0..=23 => bytes.push(major | u8::try_from(count).unwrap_or(0)),
        24..=0xff => bytes.extend([major | 24, u8::try_from(count).unwrap_or(0)]),
        0x100..=0xffff => {
            bytes.push(major | 25);
            bytes.extend(u16::try_from(count).unwrap_or(0).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            bytes.push(major | 26);
            bytes.extend(u32::try_from(count).unwrap_or(0).to_be_bytes());
        }
        _ => {
            bytes.push(major | 27);
            bytes.extend(count.to_be_bytes());
        }
    }
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    head(bytes, 3, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

/// Canonical CBOR (RFC 8949, section 4.2.1); whole floats are integers first.
fn cbor(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => bytes.push(0xf6),
        Value::Bool(on) => bytes.push(if *on { 0xf5 } else { 0xf4 }),
        Value::String(string) => text(bytes, string),
        Value::Number(number) => {
            if let Some(whole) = number.as_u64() {
                head(bytes, 0, whole);
            } else if let Some(negative) = number.as_i64() {
                head(bytes, 1, negative.unsigned_abs() - 1);
            } else {
                float(bytes, number.as_f64().unwrap_or(f64::NAN));
            }
        }
        Value::Array(items) => {
            head(bytes, 4, items.len() as u64);
            items.iter().for_each(|item| cbor(bytes, item));
        }
        Value::Object(fields) => {
            let mut encoded: Vec<(Vec<u8>, &Value)> = fields
                .iter()
                .map(|(name, value)| {
                    let mut key = Vec::new();
                    text(&mut key, name);
                    (key, value)
                })
                .collect();
            encoded.sort_by(|a, b| a.0.cmp(&b.0));
            head(bytes, 5, encoded.len() as u64);
            for (key, value) in encoded {
                bytes.extend(key);
                cbor(bytes, value);
            }
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "guarded by the range check"
)]
fn float(bytes: &mut Vec<u8>, number: f64) {
    if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 {
        let whole = number as i64;
        if whole < 0 { head(bytes, 1, whole.unsigned_abs() - 1) } else { head(bytes, 0, whole as u64) }
    } else if let Some(half) = half(number) {
        bytes.push(0xf9);
        bytes.extend(half.to_be_bytes());
    } else if f64::from(number as f32) == number {
        bytes.push(0xfa);
        bytes.extend((number as f32).to_be_bytes());
    } else {
        bytes.push(0xfb);
        bytes.extend(number.to_be_bytes());
    }
}

/// A number in 16 bits, where it loses nothing by that.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "guarded by the range checks")]
fn half(number: f64) -> Option<u16> {
    let sign = u16::from(number.is_sign_negative()) << 15;
    let size = number.abs();
    if size < 2.0_f64.powi(-14) {
        let steps = size * 2.0_f64.powi(24);
        return (steps.fract() == 0.0).then_some(sign | steps as u16);
    }
    if size > 65504.0 {
        return None;
    }
    let exponent = size.log2().floor();
    let fraction = (size / exponent.exp2() - 1.0) * 1024.0;
    (fraction.fract() == 0.0).then_some(sign | ((exponent + 15.0) as u16) << 10 | fraction as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur3_gives_its_published_vectors() {
        for (text, expected) in [("", 0), ("a", 0x3c25_69b2), ("abc", 0xb3dd_93fa), ("Hello, world!", 0xc036_3e43_u32)]
        {
            assert_eq!(hash(Generation::Concat, &Subject::Keys("", text)), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_place_is_always_below_the_total_and_grows_with_the_hash() {
        assert_eq!(place(0, 100), 0);
        assert_eq!(place(u32::MAX, 100), 99);
        assert_eq!(place(u32::MAX, MAX_TOTAL), MAX_TOTAL - 1);
        assert_eq!(place(1 << 31, 100), 50);
    }

    #[test]
    fn cbor_is_canonical() {
        let mut bytes = Vec::new();
        cbor(&mut bytes, &serde_json::json!(["flag", 1.0, -1, 24, 0.5, { "bb": 1, "a": true }]));
        assert_eq!(bytes, b"\x86\x64flag\x01\x20\x18\x18\xf9\x38\x00\xa2\x61a\xf5\x62bb\x01");
    }

    #[test]
    fn a_number_is_nothing_to_bucket_by_in_the_first_generation() {
        assert_eq!(hash(Generation::Concat, &Subject::By(&serde_json::json!(7))), None);
    }
}
