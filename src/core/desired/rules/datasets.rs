//! Datasets: a table that is betagate's to fill, its own key and companions, a file of rows. What stands in the file is checked where it can be read.
//!
//! Must not know: files' contents.

use std::collections::BTreeMap;

use super::{Rules, token};
use crate::dataset::{SHAPES, STATUSES, shape};
use crate::desired::{ProgramDesired, documents::Documents, error::Problem};
use crate::resources::Kind;

impl Rules<'_> {
    pub(super) fn datasets(&mut self) {
        for (name, dataset) in &self.program.datasets {
            let document = self.document(Kind::Dataset, name);
            let spec = &dataset.spec;
            self.file(document, "/spec/file", &spec.file);
            if !spec.file.to_ascii_lowercase().ends_with(".json") {
                self.problem(document, "/spec/file", "a dataset's file is JSON: its name ends with .json");
            }
            for status in spec.expect.keys() {
                let pointer = format!("/spec/expect/{}", token(status));
                self.known(document, &pointer, "status of a row", status, STATUSES);
            }
            let tables = SHAPES.iter().map(|shape| shape.table);
            if !self.known(document, "/spec/table", "table for a dataset", &spec.table, tables) {
                continue;
            }
            let Some(shape) = shape(&spec.table) else { continue };
            let given = [
                ("key", Some(&spec.key), shape.key),
                ("staging", spec.staging.as_ref(), shape.staging),
                ("audit", spec.audit.as_ref(), shape.audit),
            ];
            for (field, text, own) in given {
                if let Some(text) = text.filter(|text| *text != own) {
                    let message = format!("'{text}' does not belong to table {}", shape.table);
                    let problem = document.map(|document| document.problem(&format!("/spec/{field}"), message));
                    self.problems.extend(problem.map(|problem| problem.expected(own)));
                }
            }
        }
    }
}

/// Two datasets in one table would take each other's rows away, also across programs.
pub(super) fn one_a_table(
    programs: &BTreeMap<String, ProgramDesired>,
    documents: &Documents,
    problems: &mut Vec<Problem>,
) {
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, dataset) in programs.values().flat_map(|program| &program.datasets) {
        // A document that is there twice is one mistake.
        if documents.given(Kind::Dataset, name) || shape(&dataset.spec.table).is_none() {
            continue;
        }
        let first = *taken.entry(&dataset.spec.table).or_insert(name);
        if first != name {
            let message = format!("dataset '{first}' fills table {} already", dataset.spec.table);
            let document = documents.get(Kind::Dataset, name);
            problems.extend(document.map(|document| document.problem("/spec/table", message)));
        }
    }
}
