//! The rows of a dataset's file: read, checked against the shape of their table, with everything that is wrong named at once.
//!
//! Must not know: where the file lies.

use std::collections::HashMap;

use data_encoding::HEXLOWER;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::places::{Place, places};
use super::{Column, ColumnKind, Shape};
use crate::desired::error::{Position, Problem};
use crate::desired::nearest::nearest;

/// A file may have so many bytes.
pub const LARGEST_FILE: u64 = 4 << 20;
/// And so many rows.
pub const MOST_ROWS: usize = 10_000;
/// A text may have so many characters.
const LONGEST_TEXT: usize = 2_000;
/// So many problems of one file are named.
const MOST_PROBLEMS: usize = 100;

/// One row of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its key.
    pub key: String,
    /// Its other columns, in the order of the table.
    pub values: Map<String, Value>,
}

impl Row {
    /// A digest of all that it says.
    pub fn digest(&self) -> String {
        let said = serde_json::json!([self.key, self.values]);
        HEXLOWER.encode(&Sha256::digest(said.to_string().as_bytes()))
    }
}

/// The rows of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// In the order of the file.
    pub rows: Vec<Row>,
    /// A digest of all that they say, whatever the file looks like.
    pub digest: String,
}

impl Rows {
    /// Reads a file.
    ///
    /// # Errors
    /// Everything that is wrong with it, by line.
    pub fn read(file: &str, bytes: &[u8], shape: &Shape) -> Result<Self, Vec<Problem>> {
        let refused = |at, message: String| Err(vec![Problem::new(file, at, "", message)]);
        if bytes.len() as u64 > LARGEST_FILE {
            let most = LARGEST_FILE >> 20;
            return refused(Position::START, format!("a dataset's file has at most {most} MiB, this one has more"));
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return refused(Position::START, "the file is not UTF-8 text".to_owned());
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let items = match serde_json::from_str::<Value>(text) {
            Ok(Value::Array(items)) => items,
            Ok(_) => return refused(Position::START, "a dataset's file is a JSON array of rows".to_owned()),
            Err(error) => {
                let narrow = |n: usize| u32::try_from(n.max(1)).unwrap_or(u32::MAX);
                let at = Position::new(narrow(error.line()), narrow(error.column()));
                let said = error.to_string();
                let said = said.split(" at line ").next().unwrap_or(&said);
                return refused(at, format!("not readable as JSON: {said}"));
            }
        };
        if items.is_empty() {
            return refused(Position::START, "the file has no rows: that would empty the table".to_owned());
        }
        if items.len() > MOST_ROWS {
            let message = format!("a dataset has at most {MOST_ROWS} rows, this file has {}", items.len());
            return refused(Position::START, message);
        }
        let mut reader = Reader { file, shape, problems: Vec::new(), taken: HashMap::new() };
        let rows: Vec<Row> =
            items.iter().zip(places(text)).filter_map(|(item, place)| reader.row(item, &place)).collect();
        if !reader.problems.is_empty() {
            reader.problems.truncate(MOST_PROBLEMS);
            return Err(reader.problems);
        }
        Ok(Self::of(rows))
    }

    /// Rows with their digest.
    pub fn of(rows: Vec<Row>) -> Self {
        let mut sorted: Vec<String> = rows.iter().map(Row::digest).collect();
        sorted.sort();
        let digest = HEXLOWER.encode(&Sha256::digest(sorted.concat().as_bytes()));
        Self { rows, digest }
    }
}

struct Reader<'a> {
    file: &'a str,
    shape: &'a Shape,
    problems: Vec<Problem>,
    /// What the unique columns hold, and where.
    taken: HashMap<(&'static str, String), Position>,
}

impl Reader<'_> {
    fn problem(&mut self, at: Position, field: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(self.file, at, field, message));
    }

    fn row(&mut self, item: &Value, place: &Place) -> Option<Row> {
        let Value::Object(fields) = item else {
            self.problem(place.at, "", "a row is an object with the columns of its table");
            return None;
        };
        let before = self.problems.len();
        let shape = self.shape;
        self.strange_keys(place);
        let key = Column { name: shape.key, kind: ColumnKind::Text, unique: true };
        let key = self.column(key, fields, place);
        let values =
            shape.columns.iter().map(|column| Some((column.name.to_owned(), self.column(*column, fields, place)?)));
        let values: Vec<_> = values.collect();
        let values = values.into_iter().collect::<Option<Map<String, Value>>>()?;
        let key = key.as_ref().and_then(Value::as_str)?.to_owned();
        (self.problems.len() == before).then_some(Row { key, values })
    }

    /// Keys that are no column, or that stand there twice.
    fn strange_keys(&mut self, place: &Place) {
        let names: Vec<&str> = self.shape.names().collect();
        for (index, (key, at)) in place.keys.iter().enumerate() {
            if place.keys[..index].iter().any(|(other, _)| other == key) {
                self.problem(*at, key, format!("column '{key}' is given twice"));
            } else if key == "status" {
                self.problem(
                    *at,
                    key,
                    "the status of a row is not for its file: it is imported as a draft, then published",
                );
            } else if !names.contains(&key.as_str()) {
                let message = format!("table {} has no column '{key}' for a file to fill", self.shape.table);
                let problem = Problem::new(self.file, *at, key.as_str(), message).expected(names.join(", "));
                self.problems.push(problem.nearest(nearest(key, names.iter().copied())));
            }
        }
    }

    fn column(&mut self, column: Column, fields: &Map<String, Value>, place: &Place) -> Option<Value> {
        let at = place.of(column.name);
        let Some(value) = fields.get(column.name) else {
            self.problem(at, column.name, format!("the row has no '{}'", column.name));
            return None;
        };
        let fits = match column.kind {
            ColumnKind::Text => is_text(value),
            ColumnKind::Texts => value.as_array().is_some_and(|texts| !texts.is_empty() && texts.iter().all(is_text)),
        };
        if !fits {
            let wanted = match column.kind {
                ColumnKind::Text => "a text",
                ColumnKind::Texts => "a list of texts, at least one",
            };
            let message = format!("'{}' is {wanted} of 1 to {LONGEST_TEXT} characters", column.name);
            self.problem(at, column.name, message);
            return None;
        }
        if let Some(text) = value.as_str().filter(|_| column.unique) {
            if let Some(first) = self.taken.get(&(column.name, text.to_owned())) {
                let line = first.line;
                self.problem(at, column.name, format!("'{text}' stands in line {line} already"));
                return None;
            }
            self.taken.insert((column.name, text.to_owned()), at);
        }
        Some(value.clone())
    }
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| {
        let length = text.chars().count();
        (1..=LONGEST_TEXT).contains(&length) && text.trim() == text && !text.contains(char::is_control)
    })
}
