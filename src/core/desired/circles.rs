//! Things that need each other in a circle.
//!
//! Must not know: what they are.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// What needs what; a name without an entry of its own counts as there already.
pub type Needs<'n> = BTreeMap<&'n str, BTreeSet<&'n str>>;

/// The circles among things that need each other, each once: every one needs the next, the last needs the first.
pub fn circles<'n>(needs: &Needs<'n>) -> Vec<Vec<&'n str>> {
    ordered(needs).1
}

/// Every thing after what it needs, and the circles, which count as there once they are named. Takes time with the number of needs.
pub fn ordered<'n>(needs: &Needs<'n>) -> (Vec<&'n str>, Vec<Vec<&'n str>>) {
    let mut needed_by: HashMap<&str, Vec<&'n str>> = HashMap::new();
    let mut missing: BTreeMap<&'n str, usize> = BTreeMap::new();
    for (name, wanted) in needs {
        let wanted: Vec<_> = wanted.iter().filter(|want| needs.contains_key(*want)).collect();
        missing.insert(name, wanted.len());
        for want in wanted {
            needed_by.entry(want).or_default().push(name);
        }
    }
    let (mut order, mut found) = (Vec::new(), Vec::new());
    let mut ready: VecDeque<&'n str> =
        missing.iter().filter(|(_, missing)| **missing == 0).map(|(name, _)| *name).collect();
    loop {
        while let Some(name) = ready.pop_front() {
            // One of a circle can come up again when the circle is named: it was taken out then.
            if missing.remove(name).is_none() {
                continue;
            }
            order.push(name);
            for dependent in needed_by.get(name).into_iter().flatten() {
                let Some(left) = missing.get_mut(dependent) else { continue };
                *left = left.saturating_sub(1);
                if *left == 0 {
                    ready.push_back(dependent);
                }
            }
        }
        let Some(circle) = circle(needs, &missing) else { return (order, found) };
        ready.extend(&circle);
        found.push(circle);
    }
}

/// From each one that is left to one that it needs, until one comes again.
fn circle<'n>(needs: &Needs<'n>, left: &BTreeMap<&'n str, usize>) -> Option<Vec<&'n str>> {
    let mut path = vec![*left.keys().next()?];
    let mut places: HashMap<&str, usize> = HashMap::from([(path[0], 0)]);
    loop {
        let next = needs.get(path.last()?)?.iter().find(|want| left.contains_key(**want))?;
        if let Some(place) = places.get(next) {
            return Some(path.split_off(*place));
        }
        places.insert(next, path.len());
        path.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'n>(edges: &[(&'n str, &[&'n str])]) -> Vec<Vec<&'n str>> {
        circles(&edges.iter().map(|(name, wanted)| (*name, wanted.iter().copied().collect())).collect())
    }

    #[test]
    fn every_circle_is_found_and_what_only_leads_to_one_is_none() {
        assert!(found(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])]).is_empty());
        assert_eq!(found(&[("a", &["a"])]), [["a"]]);
        assert_eq!(
            found(&[("a", &["b"]), ("b", &["c", "z"]), ("c", &["b"]), ("x", &["y"]), ("y", &["x"]), ("z", &[])]),
            [["b", "c"], ["x", "y"]]
        );
    }

    #[test]
    fn a_thing_comes_after_what_it_needs_and_a_long_chain_takes_no_time() {
        let names: Vec<String> = (0..50_000).map(|number| format!("n{number:05}")).collect();
        let mut needs: Needs<'_> = names.windows(2).map(|two| (two[0].as_str(), [two[1].as_str()].into())).collect();
        needs.insert("n49999", BTreeSet::new());
        let (order, circles) = ordered(&needs);
        assert!(circles.is_empty());
        assert!(order.iter().rev().eq(names.iter()));
    }
}
