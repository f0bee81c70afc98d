//! A [`Problem`]: one thing wrong in a document, with the place where it stands.
//!
//! Must not know: how a document is parsed, or what a field means.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether a problem stops a revision or is only worth saying.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing of the revision is applied.
    #[default]
    Error,
    /// The revision is taken; the operator is told.
    Warning,
}

/// A place in a file: line and column, both counted from 1 (columns in characters).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Position {
    /// The first character of a file.
    pub const START: Self = Self { line: 1, column: 1 };

    /// The place at `line` and `column`.
    pub const fn new(line: u32, column: u32) -> Self {
        Self { line, column }
    }
}

/// One thing wrong in a document. Ordered by file, line and column, as they are shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// The file, relative to the source's root, with forward slashes.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Dotted path of the field, such as `spec.stages[0].enter.gates[1].name`; empty where the text itself is at fault.
    pub field: String,
    /// What is wrong, in words that stand by themselves.
    pub message: String,
    /// What could have stood there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// The valid name nearest to the one that stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// Whether it stops the revision.
    #[serde(default)]
    pub severity: Severity,
}

impl Problem {
    /// An error at a place, without a hint.
    pub fn new(file: &str, at: Position, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: at.line,
            column: at.column,
            field: kept(field.into()),
            message: kept(message.into()),
            expected: None,
            nearest: None,
            severity: Severity::Error,
        }
    }

    /// Says what could have stood there.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(kept(expected.into()));
        self
    }

    /// Says which valid name is nearest, if one is near enough.
    #[must_use]
    pub fn nearest(mut self, nearest: Option<impl Into<String>>) -> Self {
        self.nearest = nearest.map(Into::into);
        self
    }

    /// Makes it a warning.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Whether it stops the revision.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)?;
        match (&self.expected, &self.nearest) {
            (None, None) => Ok(()),
            (Some(expected), None) => write!(f, " (expected {expected})"),
            (None, Some(nearest)) => write!(f, " (did you mean {nearest}?)"),
            (Some(expected), Some(nearest)) => write!(f, " (expected {expected}; did you mean {nearest}?)"),
        }
    }
}

/// A problem is written down, and no database keeps a NUL.
fn kept(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

/// Puts problems in the order they are shown (file, line, column) and drops exact repetitions.
pub fn sorted(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort();
    problems.dedup();
    problems
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, reason = "a test that cannot go on should stop")]
    use super::*;

    #[test]
    fn a_problem_reads_as_file_line_column_field_message_and_hint() {
        let problem = Problem::new("manifests/a.yaml", Position::new(3, 7), "spec.x", "unknown field `x`");
        assert_eq!(problem.to_string(), "manifests/a.yaml:3:7: spec.x: unknown field `x`");
        let hinted = problem.clone().expected("one of y, z").nearest(Some("y"));
        assert_eq!(
            hinted.to_string(),
            "manifests/a.yaml:3:7: spec.x: unknown field `x` (expected one of y, z; did you mean y?)"
        );
        let json = serde_json::to_value(problem.warning()).expect("serializes");
        assert_eq!(
            json,
            serde_json::json!({"file": "manifests/a.yaml", "line": 3, "column": 7, "field": "spec.x",
                "message": "unknown field `x`", "severity": "warning"})
        );
    }

    #[test]
    fn problems_are_shown_by_file_then_line_then_column_once() {
        let at = |file, line, column| Problem::new(file, Position::new(line, column), "", "m");
        let shown = sorted(vec![at("b", 1, 1), at("a", 10, 1), at("a", 2, 9), at("a", 2, 3), at("a", 2, 3)]);
        let places: Vec<_> = shown.iter().map(|p| (p.file.as_str(), p.line, p.column)).collect();
        assert_eq!(places, [("a", 2, 3), ("a", 2, 9), ("a", 10, 1), ("b", 1, 1)]);
    }
}
