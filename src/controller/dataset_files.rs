//! The files of datasets, as a snapshot has them: their rows, and what is wrong with them.
//!
//! Must not know: tables, holds.

use betagate_core::dataset::{Rows, shape, unmet};
use betagate_core::desired::error::{Position, Problem};
use betagate_core::desired::{Desired, Resource};
use betagate_core::resources::DatasetSpec;

use crate::source::Snapshot;

/// What is wrong with the files of datasets. One that is not there is the documents' own problem.
pub(super) fn problems(snapshot: &Snapshot, desired: &Desired) -> Vec<Problem> {
    let mut found = Vec::new();
    for dataset in desired.programs.values().flat_map(|program| program.datasets.values()) {
        let Some(shape) = shape(&dataset.spec.table) else { continue };
        let Ok((path, file)) = snapshot.named_by(&dataset.origin.file, &dataset.spec.file) else { continue };
        let bytes = match file.read() {
            Ok(bytes) => bytes,
            // It was looked at when it came; the dataset's state says that it can't be read now.
            Err(_) if file.is_away() => continue,
            Err(error) => {
                found.push(Problem::new(path, Position::START, "", error.to_string()));
                continue;
            }
        };
        match Rows::read(path, &bytes, shape) {
            // No resource is wrong for it, and what was brought in goes on: its state says what is wrong.
            Err(_) if snapshot.of_resources => {}
            Err(problems) => found.extend(problems),
            Ok(rows) => {
                let will_be = [(betagate_core::dataset::PUBLISHED.to_owned(), rows.rows.len() as u64)].into();
                for missed in unmet(&dataset.spec.expect, &will_be) {
                    let (origin, name) = (&dataset.origin, &dataset.name);
                    let at = Position::new(origin.line, 1);
                    let message = format!("dataset {name}: with the rows of {path} alone, {missed}");
                    found.push(Problem::new(&origin.file, at, "spec.expect", message).warning());
                }
            }
        }
    }
    found
}

/// The rows of a dataset's file, with what tells whether it has changed.
pub(super) fn read(snapshot: &Snapshot, dataset: &Resource<DatasetSpec>) -> Option<(String, Rows)> {
    let (path, file) = snapshot.named_by(&dataset.origin.file, &dataset.spec.file).ok()?;
    let rows = Rows::read(path, &file.read().ok()?, shape(&dataset.spec.table)?).ok()?;
    Some((file.digest().to_owned(), rows))
}

/// The first thing that is wrong with a file.
pub(super) fn unreadable(snapshot: &Snapshot, dataset: &Resource<DatasetSpec>) -> Option<Problem> {
    let (path, file) = snapshot.named_by(&dataset.origin.file, &dataset.spec.file).ok()?;
    Rows::read(path, &file.read().ok()?, shape(&dataset.spec.table)?).err()?.into_iter().next()
}
