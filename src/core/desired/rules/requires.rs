//! Flags that depend on flags: the names lead somewhere, and never back.

use std::collections::{BTreeMap, BTreeSet};

use super::Rules;
use crate::desired::{circles::circles, parse::Document};
use crate::flags::{MAX_EVALUATIONS, too_many};
use crate::resources::{FlagSpec, Kind};

impl Rules<'_> {
    pub(super) fn requires(&mut self, document: Option<&Document>, spec: &FlagSpec) {
        for (place, required) in spec.requires.iter().enumerate() {
            let pointer = format!("/spec/requires/{place}");
            if !self.resource(document, &format!("{pointer}/flag"), Kind::Flag, &required.flag) {
                continue;
            }
            let Some(other) = self.program.flags.get(&required.flag) else { continue };
            if self.documents.doubtful(Kind::Flag, &other.name, "/spec/variants") {
                continue;
            }
            let variants = other.spec.variants.keys().map(String::as_str);
            self.known(document, &format!("{pointer}/variant"), "variant", &required.variant, variants);
        }
    }

    /// Circles, and flags that would take too many evaluations of others.
    pub(super) fn required_in_circles(&mut self) {
        let flags = &self.program.flags;
        let known = |spec: &'_ FlagSpec| -> BTreeSet<String> {
            spec.requires.iter().map(|required| required.flag.clone()).filter(|key| flags.contains_key(key)).collect()
        };
        let all: BTreeMap<&String, BTreeSet<String>> =
            flags.iter().map(|(key, flag)| (key, known(&flag.spec))).collect();
        if all.values().all(BTreeSet::is_empty) {
            return;
        }
        let mut needs: BTreeMap<&str, BTreeSet<&str>> =
            all.iter().map(|(key, wanted)| (key.as_str(), wanted.iter().map(String::as_str).collect())).collect();
        for circle in circles(&needs) {
            if let (Some(first), Some(next)) = (circle.first(), circle.get(1).or(circle.first())) {
                let message = format!("flags require each other in a circle: {} → {first}", circle.join(" → "));
                self.requirement_problem(first, next, message);
            }
            needs.retain(|key, _| !circle.contains(key));
        }
        for key in too_many(&needs) {
            let message = format!("it takes more than {MAX_EVALUATIONS} evaluations of the flags that it requires");
            self.requirement_problem(key, "", message);
        }
    }

    fn requirement_problem(&mut self, key: &str, required: &str, message: String) {
        let Some(flag) = self.program.flags.get(key) else { return };
        let document = self.document(Kind::Flag, &flag.name);
        let place = flag.spec.requires.iter().position(|other| other.flag == required);
        let pointer = place.map_or("/spec/requires".to_owned(), |place| format!("/spec/requires/{place}/flag"));
        self.problem(document, &pointer, message);
    }
}
