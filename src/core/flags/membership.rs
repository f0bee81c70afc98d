//! Who is in which cohort: a compact index by the hash of a user id and of a normalised address.
//!
//! Must not know: where members are kept.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

/// The cohorts of one person.
pub type Cohorts = BTreeSet<String>;

/// A cohort as the index names it. Two programs may have cohorts of one name: being in one is not being in the other.
pub fn cohort_key(program: &str, cohort: &str) -> String {
    if program.is_empty() { cohort.to_owned() } else { format!("{program}/{cohort}") }
}

/// The keys are hashes already: hashing them again would only cost time.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_le_bytes(word);
        }
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// The index. A person has few cohorts, and many people have the same ones: the sets of cohorts are kept once, and each key holds the
/// number of its set.
#[derive(Clone, Debug, Default)]
pub struct Membership {
    sets: Vec<Cohorts>,
    numbers: HashMap<Cohorts, u32>,
    keys: HashMap<u64, u32, BuildHasherDefault<AsItIs>>,
    seed: std::hash::RandomState,
}

impl Membership {
    /// An index of `(key, cohort)` pairs; a person has one pair for each key and cohort.
    pub fn build<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut index = Self::default();
        for (key, cohort) in pairs {
            index.add(key, cohort);
        }
        index
    }

    /// Puts a key (a user id, or a normalised address) into a cohort.
    pub fn add(&mut self, key: &str, cohort: &str) {
        let hashed = self.hash(key);
        let mut set = self.keys.get(&hashed).map(|number| self.sets[*number as usize].clone()).unwrap_or_default();
        if set.insert(cohort.to_owned()) {
            let number = self.number(set);
            self.keys.insert(hashed, number);
        }
    }

    /// The cohorts of a key.
    pub fn of(&self, key: &str) -> Option<&Cohorts> {
        self.keys.get(&self.hash(key)).and_then(|number| self.sets.get(*number as usize))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether nobody is in.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn hash(&self, key: &str) -> u64 {
        // Keyed, so that nobody can choose an address that collides with another's.
        self.seed.hash_one(key)
    }

    fn number(&mut self, set: Cohorts) -> u32 {
        if let Some(number) = self.numbers.get(&set) {
            return *number;
        }
        let number = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        self.sets.push(set.clone());
        self.numbers.insert(set, number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_found_by_either_key_in_every_cohort() {
        let mut index = Membership::build([("u1", "pavia"), ("ada@example.com", "pavia"), ("u1", "vip")]);
        assert_eq!(index.of("u1").map(Cohorts::len), Some(2));
        assert_eq!(index.of("ada@example.com").map(Cohorts::len), Some(1));
        assert_eq!(index.of("stranger"), None);
        index.add("u2", "pavia");
        assert_eq!(index.len(), 3);
    }
}
