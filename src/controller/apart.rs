//! Programs surveyed apart: what belongs to a program that did not change is not read again, so that a change of one resource among ten thousand costs
//! what its own program costs.
//!
//! Nothing in a program depends on another one, but that the key of a flag and the table of a dataset are taken once. Where that does not hold, all of
//! them are surveyed together, which says it. Must not know: the rules, nor which documents count (`settle`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use betagate_core::desired::error::{Problem, sorted};
use betagate_core::desired::{Built, Desired, ProgramDesired};
use betagate_core::resources::Kind;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::revision::{revision_of, survey_snapshot};
use crate::source::{File, Snapshot};

/// What is known of programs that were surveyed before.
#[derive(Default)]
pub(super) struct Apart {
    /// By program: as it was taken last, and as it was refused.
    parts: BTreeMap<Arc<str>, Vec<Part>>,
    /// Where each document belongs, by its digest.
    homes: HashMap<Arc<str>, Home>,
    /// Counts the settlings.
    turn: u64,
}

struct Part {
    /// Of all that its survey depends on.
    digest: [u8; 32],
    /// None of one whose program has no document.
    desired: Option<Arc<ProgramDesired>>,
    problems: Vec<Problem>,
    used: u64,
}

#[derive(Clone)]
struct Home {
    program: Arc<str>,
    is_program: bool,
}

type Documents = BTreeMap<String, File>;

impl Apart {
    /// Begins a settling: what it does not need is forgotten at its end.
    pub fn begin(&mut self) {
        self.turn += 1;
    }

    /// Ends it.
    pub fn end(&mut self, built: &Built, documents: &Documents) {
        let taken = |part: &Part, name: &Arc<str>| {
            let taken = built.desired.programs.get(&**name);
            part.desired.as_ref().zip(taken).is_some_and(|(one, other)| Arc::ptr_eq(one, other))
        };
        let turn = self.turn;
        for (name, parts) in &mut self.parts {
            parts
                .retain(|part| part.used == turn && (taken(part, name) || part.problems.iter().any(Problem::is_error)));
        }
        self.parts.retain(|_, parts| !parts.is_empty());
        if self.homes.len() > 2 * documents.len() + 100 {
            let digests: HashSet<&str> = documents.values().map(File::digest).collect();
            self.homes.retain(|digest, _| digests.contains(&**digest));
        }
    }

    /// What documents want together, and what is wrong with them.
    pub fn survey(
        &mut self,
        snapshot: &Snapshot,
        documents: &Documents,
        environment: Option<&str>,
        default_prometheus: bool,
    ) -> Built {
        let others = others(snapshot);
        let (mut groups, mut programs) = (BTreeMap::<Arc<str>, Documents>::new(), Documents::new());
        for (path, file) in documents {
            let home = self.home(file);
            if home.is_program {
                programs.insert(path.clone(), file.clone());
            }
            groups.entry(home.program).or_default().insert(path.clone(), file.clone());
        }
        let mut desired = Desired { revision: revision_of(snapshot), programs: BTreeMap::new() };
        let mut problems = Vec::new();
        for (name, mut group) in groups {
            let own: Vec<String> = group.keys().cloned().collect();
            // What belongs to a program that is not there is told which ones there are.
            let stray = !own.iter().any(|path| programs.contains_key(path));
            if stray {
                group.extend(programs.clone());
            }
            let part = self.part(&name, digest(&others, &group), |part| {
                let Built { desired, warnings } =
                    survey_snapshot(&snapshot.with_documents(&group), environment, default_prometheus);
                part.desired = desired.programs.get(&*name).filter(|_| !stray).cloned();
                part.problems = warnings.into_iter().filter(|problem| !stray || own.contains(&problem.file)).collect();
            });
            problems.extend(part.problems.iter().cloned());
            desired.programs.extend(part.desired.clone().map(|program| (name.to_string(), program)));
        }
        if taken_twice(&desired) {
            return survey_snapshot(&snapshot.with_documents(documents), environment, default_prometheus);
        }
        Built { desired, warnings: sorted(problems) }
    }

    fn part(&mut self, name: &Arc<str>, digest: [u8; 32], survey: impl FnOnce(&mut Part)) -> &Part {
        let parts = self.parts.entry(name.clone()).or_default();
        let place = parts.iter().position(|part| part.digest == digest).unwrap_or_else(|| {
            let mut part = Part { digest, desired: None, problems: Vec::new(), used: 0 };
            survey(&mut part);
            parts.push(part);
            parts.len() - 1
        });
        let part = &mut parts[place];
        part.used = self.turn;
        part
    }

    fn home(&mut self, file: &File) -> Home {
        if let Some(home) = self.homes.get(file.digest()) {
            return home.clone();
        }
        let read = file.read().ok().and_then(|bytes| serde_json::from_slice::<Head>(&bytes).ok()).unwrap_or_default();
        let is_program = read.kind == Kind::Program.name();
        let name = if is_program { read.metadata.name } else { read.spec.program };
        let program = self.parts.get_key_value(&*name).map_or_else(|| Arc::from(name), |(known, _)| known.clone());
        let home = Home { program, is_program };
        self.homes.insert(file.shared_digest(), home.clone());
        home
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Head {
    kind: String,
    metadata: Named,
    spec: Belongs,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Belongs {
    program: String,
}

/// The files that are no documents: any program may name them.
fn others(snapshot: &Snapshot) -> Sha256 {
    let mut digest = Sha256::new();
    snapshot.files.iter().filter(|(path, _)| !snapshot.is_document(path)).for_each(|one| add(&mut digest, one));
    digest
}

fn digest(others: &Sha256, documents: &Documents) -> [u8; 32] {
    let mut digest = others.clone();
    documents.iter().for_each(|one| add(&mut digest, one));
    digest.finalize().into()
}

fn add(digest: &mut Sha256, (path, file): (&String, &File)) {
    for part in [path.as_str(), file.digest()] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
}

/// Whether programs are in one another's way.
fn taken_twice(desired: &Desired) -> bool {
    let (mut keys, mut tables) = (HashSet::new(), HashSet::new());
    desired.programs.values().any(|program| {
        let own: HashSet<&str> = program.datasets.values().map(|dataset| dataset.spec.table.as_str()).collect();
        !program.flags.keys().all(|key| keys.insert(key)) || !own.into_iter().all(|table| tables.insert(table))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]
    use serde_json::{Value, json};

    use super::*;
    use crate::source::read_folder;

    /// Two programs with a cohort and a flag each, as a cluster has them: a document a file, as JSON.
    fn two() -> BTreeMap<&'static str, Value> {
        let flag = |program: &str| json!({ "program": program, "type": "boolean", "variants": { "on": true, "off": false }, "defaultVariant": "off", "safeVariant": "off" });
        let program = json!({ "timeZone": "UTC", "people": { "ana": {} } });
        let cohort = |program: &str| json!({ "program": program, "members": { "inline": [] } });
        [
            ("programs/one", program.clone()),
            ("programs/two", program),
            ("cohorts/pavia", cohort("one")),
            ("cohorts/lyon", cohort("two")),
            ("flags/feed", flag("one")),
            ("flags/search", flag("two")),
        ]
        .into()
    }

    fn snapshot(documents: &BTreeMap<&str, Value>) -> Snapshot {
        let folder = tempfile::tempdir().unwrap();
        for (path, spec) in documents {
            let (plural, name) = path.split_once('/').unwrap();
            let kind = plural.parse::<Kind>().unwrap();
            let manifests = folder.path().join("manifests");
            std::fs::create_dir_all(&manifests).unwrap();
            let text = json!({ "apiVersion": "betagate.dev/v1alpha1", "kind": kind.name(), "metadata": { "name": name }, "spec": spec });
            std::fs::write(manifests.join(format!("{plural}-{name}.yaml")), text.to_string()).unwrap();
        }
        read_folder(folder.path()).unwrap()
    }

    /// Surveyed apart, which must say what all of them together say.
    fn surveyed(apart: &mut Apart, documents: &BTreeMap<&str, Value>) -> Built {
        let snapshot = snapshot(documents);
        let files = snapshot.document_files();
        apart.begin();
        let built = apart.survey(&snapshot, &files, None, false);
        apart.end(&built, &files);
        let together = survey_snapshot(&snapshot, None, false);
        assert_eq!(built.warnings, together.warnings);
        if !built.warnings.iter().any(Problem::is_error) {
            assert_eq!(built.desired.programs, together.desired.programs);
        }
        built
    }

    #[test]
    fn a_change_has_its_own_program_read_again_and_no_other() {
        let (mut apart, mut documents) = (Apart::default(), two());
        let first = surveyed(&mut apart, &documents);
        documents.get_mut("flags/feed").unwrap()["defaultVariant"] = json!("on");
        let second = surveyed(&mut apart, &documents);
        let same = |name: &str| Arc::ptr_eq(&first.desired.programs[name], &second.desired.programs[name]);
        assert!(same("two") && !same("one"));
        // One that is wrong is read once, however often the others change.
        documents.get_mut("flags/search").unwrap()["defaultVariant"] = json!("maybe");
        assert!(surveyed(&mut apart, &documents).warnings.iter().any(Problem::is_error));
        documents.get_mut("flags/feed").unwrap()["defaultVariant"] = json!("off");
        assert!(surveyed(&mut apart, &documents).warnings.iter().any(Problem::is_error));
        assert_eq!(apart.parts.values().map(Vec::len).sum::<usize>(), 2);
    }

    #[test]
    fn what_programs_take_from_one_another_and_what_belongs_to_none_is_said() {
        let mut apart = Apart::default();
        surveyed(&mut apart, &two());
        let mut documents = two();
        for name in ["flags/feed", "flags/search"] {
            documents.get_mut(name).unwrap()["key"] = json!("shared");
        }
        assert!(
            surveyed(&mut apart, &documents).warnings.iter().any(|problem| problem.message.contains("already taken"))
        );
        let mut documents = two();
        documents.get_mut("flags/search").unwrap()["program"] = json!("three");
        assert!(
            surveyed(&mut apart, &documents)
                .warnings
                .iter()
                .any(|problem| problem.message.contains("no program 'three'"))
        );
        let mut documents = two();
        documents.remove("programs/two");
        let gone = surveyed(&mut apart, &documents);
        assert_eq!(gone.warnings.iter().filter(|problem| problem.is_error()).count(), 2);
        // Nothing stays known that does not count any more.
        let built = surveyed(&mut apart, &two());
        assert_eq!((built.desired.programs.len(), apart.parts.len()), (2, 2));
    }
}
