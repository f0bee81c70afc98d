//! Who is in which cohort: a compact index by the hash of a user id and of a normalised address.
//!
//! Twelve bytes a key: a sorted list of 64-bit hashes, found by their leading bits, and beside each the number of its set of cohorts. What
//! changed since the list was made lies in a small map in front of it, so that a copy with one person more costs little.
//!
//! Must not know: where members are kept.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher as _;
use std::sync::Arc;

/// The cohorts of one person.
pub type Cohorts = BTreeSet<String>;

/// A cohort as the index names it. Two programs may have cohorts of one name: being in one is not being in the other.
pub fn cohort_key(program: &str, cohort: &str) -> String {
    if program.is_empty() { cohort.to_owned() } else { format!("{program}/{cohort}") }
}

/// The set of no cohorts.
const NOBODY: u32 = 0;
/// Changes are folded into the list when they are more than this share of it, and more than `FOLD_AT_LEAST`.
const FOLD_SHARE: usize = 32;
const FOLD_AT_LEAST: usize = 1024;
/// About so many hashes share their leading bits.
const CROWD: usize = 8;

/// The index. A person has few cohorts, and many people have the same ones: the sets of cohorts are kept once, and each key holds the
/// number of its set. Copies share the list.
#[derive(Clone, Debug)]
pub struct Membership {
    list: Arc<List>,
    changed: HashMap<u64, u32>,
    sets: Vec<Arc<Cohorts>>,
    numbers: HashMap<Arc<Cohorts>, u32>,
    seed: RandomState,
}

/// Hashes in order, with the number of each one's set.
#[derive(Debug, Default)]
struct List {
    hashes: Vec<u64>,
    numbers: Vec<u32>,
    /// Where the hashes with each leading bits begin; one more at the end.
    starts: Vec<u32>,
    /// How many bits are not leading.
    shift: u32,
}

impl Default for Membership {
    fn default() -> Self {
        let nobody = Arc::new(Cohorts::new());
        Self {
            list: Arc::default(),
            changed: HashMap::new(),
            sets: vec![nobody.clone()],
            numbers: HashMap::from([(nobody, NOBODY)]),
            seed: RandomState::new(),
        }
    }
}

impl Membership {
    /// An index of `(key, cohort)` pairs; a person has one pair for each key and cohort.
    pub fn build<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut building = Building::default();
        for (key, cohort) in pairs {
            building.add(key, cohort);
        }
        building.finish()
    }

    /// Puts a key (a user id, or a normalised address) into a cohort.
    pub fn add(&mut self, key: &str, cohort: &str) {
        self.change(key, |set| set.insert(cohort.to_owned()));
    }

    /// Takes a key out of a cohort.
    pub fn remove(&mut self, key: &str, cohort: &str) {
        self.change(key, |set| set.remove(cohort));
    }

    /// The cohorts of a key; none for someone unknown.
    pub fn of(&self, key: &str) -> Option<&Cohorts> {
        let number = self.number(self.seed.hash_one(key));
        (number != NOBODY).then(|| self.sets.get(number as usize).map(AsRef::as_ref)).flatten()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        let listed = |hash: &u64| usize::from(self.list.find(*hash).is_some_and(|number| number != NOBODY));
        let more: usize = self.changed.values().filter(|number| **number != NOBODY).count();
        let replaced: usize = self.changed.keys().map(listed).sum();
        self.list.hashes.len() + more - replaced
    }

    /// Whether nobody is in.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it takes up, in bytes, without the names of cohorts.
    pub fn bytes(&self) -> usize {
        let List { hashes, numbers, starts, .. } = &*self.list;
        hashes.capacity() * 8 + numbers.capacity() * 4 + starts.capacity() * 4 + self.changed.capacity() * 17
    }

    fn number(&self, hash: u64) -> u32 {
        if !self.changed.is_empty()
            && let Some(number) = self.changed.get(&hash)
        {
            return *number;
        }
        self.list.find(hash).unwrap_or(NOBODY)
    }

    fn change(&mut self, key: &str, change: impl FnOnce(&mut Cohorts) -> bool) {
        // Keyed, so that nobody can choose an address that collides with another's.
        let hash = self.seed.hash_one(key);
        let mut set = self.sets.get(self.number(hash) as usize).map(|set| Cohorts::clone(set)).unwrap_or_default();
        if change(&mut set) {
            let number = number_of(&mut self.sets, &mut self.numbers, set);
            self.changed.insert(hash, number);
            if self.changed.len() > FOLD_AT_LEAST.max(self.list.hashes.len() / FOLD_SHARE) {
                self.fold();
            }
        }
    }

    /// Makes one list of the list and what changed.
    fn fold(&mut self) {
        let mut changed: Vec<(u64, u32)> = self.changed.drain().collect();
        changed.sort_unstable_by_key(|(hash, _)| *hash);
        let old = std::mem::take(&mut self.list);
        let mut merged = List::with_capacity(old.hashes.len() + changed.len());
        let mut changed = changed.into_iter().peekable();
        for (hash, number) in old.hashes.iter().copied().zip(old.numbers.iter().copied()) {
            while let Some((earlier, number)) = changed.next_if(|(earlier, _)| *earlier < hash) {
                merged.push(earlier, number);
            }
            let number = changed.next_if(|(same, _)| *same == hash).map_or(number, |(_, number)| number);
            merged.push(hash, number);
        }
        changed.for_each(|(hash, number)| merged.push(hash, number));
        merged.index();
        self.list = Arc::new(merged);
    }
}

fn number_of(sets: &mut Vec<Arc<Cohorts>>, numbers: &mut HashMap<Arc<Cohorts>, u32>, set: Cohorts) -> u32 {
    if let Some(number) = numbers.get(&set) {
        return *number;
    }
    let number = u32::try_from(sets.len()).unwrap_or(NOBODY);
    let set = Arc::new(set);
    sets.push(set.clone());
    numbers.insert(set, number);
    number
}

/// An index in the making: pairs come in any order, and the list is sorted once.
#[derive(Default)]
pub struct Building {
    index: Membership,
    pairs: Vec<(u64, u32)>,
    cohorts: HashMap<String, u32>,
    names: Vec<String>,
}

impl Building {
    /// Puts a key into a cohort.
    pub fn add(&mut self, key: &str, cohort: &str) {
        let cohort = match self.cohorts.get(cohort) {
            Some(number) => *number,
            None => {
                let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
                self.cohorts.insert(cohort.to_owned(), number);
                self.names.push(cohort.to_owned());
                number
            }
        };
        self.pairs.push((self.index.seed.hash_one(key), cohort));
    }

    /// The index.
    pub fn finish(self) -> Membership {
        let Self { mut index, mut pairs, names, .. } = self;
        pairs.sort_unstable();
        pairs.dedup();
        let mut list = List::with_capacity(pairs.len());
        for same in pairs.chunk_by(|one, other| one.0 == other.0) {
            let set: Cohorts = same.iter().filter_map(|(_, cohort)| names.get(*cohort as usize)).cloned().collect();
            list.push(same[0].0, number_of(&mut index.sets, &mut index.numbers, set));
        }
        drop(pairs);
        list.index();
        index.list = Arc::new(list);
        index
    }
}

impl List {
    fn with_capacity(count: usize) -> Self {
        Self { hashes: Vec::with_capacity(count), numbers: Vec::with_capacity(count), ..Self::default() }
    }

    fn push(&mut self, hash: u64, number: u32) {
        if number != NOBODY {
            self.hashes.push(hash);
            self.numbers.push(number);
        }
    }

    fn index(&mut self) {
        self.hashes.shrink_to_fit();
        self.numbers.shrink_to_fit();
        let bits = (self.hashes.len() / CROWD).max(1).ilog2() + 1;
        self.shift = u64::BITS - bits;
        self.starts = Vec::with_capacity((1 << bits) + 1);
        let mut at = 0;
        for leading in 0..=(1_u64 << bits) {
            while self.hashes.get(at).is_some_and(|hash| hash >> self.shift < leading) {
                at += 1;
            }
            self.starts.push(u32::try_from(at).unwrap_or(u32::MAX));
        }
    }

    fn find(&self, hash: u64) -> Option<u32> {
        if self.hashes.is_empty() {
            return None;
        }
        let leading = usize::try_from(hash >> self.shift).ok()?;
        let (from, until) = (*self.starts.get(leading)? as usize, *self.starts.get(leading + 1)? as usize);
        let place = self.hashes.get(from..until)?.iter().position(|known| *known == hash)?;
        self.numbers.get(from + place).copied()
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

    #[test]
    fn whoever_leaves_is_out_and_a_copy_made_before_still_has_them() {
        let before = Membership::build([("u1", "pavia"), ("u1", "vip"), ("u2", "pavia")]);
        let mut after = before.clone();
        after.remove("u1", "vip");
        after.remove("u2", "pavia");
        after.remove("stranger", "pavia");
        assert_eq!(after.of("u1"), Some(&Cohorts::from(["pavia".to_owned()])));
        assert_eq!((after.of("u2"), after.len()), (None, 1));
        assert_eq!((before.of("u2").map(Cohorts::len), before.len()), (Some(1), 2));
    }

    proptest::proptest! {
        #[test]
        fn the_index_is_what_a_plain_map_is_whatever_joins_and_leaves(
            begun in proptest::collection::vec((0_u16..3000, 0_u8..3), 0..4000),
            then in proptest::collection::vec((0_u16..3000, 0_u8..3, proptest::bool::ANY), 0..4000),
        ) {
            let mut plain: HashMap<String, Cohorts> = HashMap::new();
            let mut building = Building::default();
            for (person, cohort) in begun {
                building.add(&person.to_string(), &cohort.to_string());
                plain.entry(person.to_string()).or_default().insert(cohort.to_string());
            }
            let mut index = building.finish();
            for (person, cohort, joins) in then {
                let (person, cohort) = (person.to_string(), cohort.to_string());
                let set = plain.entry(person.clone()).or_default();
                if joins {
                    index.add(&person, &cohort);
                    set.insert(cohort);
                } else {
                    index.remove(&person, &cohort);
                    set.remove(&cohort);
                }
            }
            for person in 0..3000 {
                let person = person.to_string();
                let known = plain.get(&person).filter(|set| !set.is_empty());
                proptest::prop_assert_eq!(index.of(&person), known);
            }
            proptest::prop_assert_eq!(index.len(), plain.values().filter(|set| !set.is_empty()).count());
        }
    }

    #[test]
    fn a_million_people_by_two_keys_take_less_than_32_mebibytes() {
        let mut building = Building::default();
        for person in 0..1_000_000 {
            building.add(&format!("user-{person}"), "p/pavia");
            building.add(&format!("user-{person}@example.com"), if person % 2 == 0 { "p/even" } else { "p/odd" });
        }
        let index = building.finish();
        assert_eq!(index.len(), 2_000_000);
        assert!(index.bytes() <= 32 << 20, "{}", index.bytes());
        assert!(index.of("user-999999@example.com").is_some_and(|set| set.contains("p/odd")));
    }
}
