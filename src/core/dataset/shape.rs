//! The tables that a `Dataset` may fill, as the migrations make them (a test of the store compares the two).
//!
//! Must not know: what the rows are good for.

/// A row that was imported and is not served yet.
pub const DRAFT: &str = "draft";
/// A row that is served.
pub const PUBLISHED: &str = "published";
/// What a row can be.
pub const STATUSES: [&str; 2] = [DRAFT, PUBLISHED];

/// A table of reference rows, with the two beside it.
#[derive(Debug, PartialEq, Eq)]
pub struct Shape {
    /// The table that is read.
    pub table: &'static str,
    /// The table in which rows stand as their file has them.
    pub staging: &'static str,
    /// The table that records each action on each row.
    pub audit: &'static str,
    /// The column that tells rows apart.
    pub key: &'static str,
    /// The other columns that a file fills.
    pub columns: &'static [Column],
    /// What operators search the log for (seed 003, "Logs to Monitor").
    pub log: &'static str,
}

/// A column that a file fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What stands in it.
    pub kind: ColumnKind,
    /// Whether no two rows may say the same.
    pub unique: bool,
}

/// What stands in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text that is not empty.
    Text,
    /// A list of texts, at least one.
    Texts,
}

/// Every table that a `Dataset` may name.
pub const SHAPES: &[Shape] = &[Shape {
    table: "movement_library",
    staging: "movement_staging",
    audit: "movement_audit_log",
    key: "movement_id",
    columns: &[
        Column { name: "name", kind: ColumnKind::Text, unique: true },
        Column { name: "category", kind: ColumnKind::Text, unique: false },
        Column { name: "modalities", kind: ColumnKind::Texts, unique: false },
    ],
    log: "Movement import",
}];

/// The shape of a table, where a `Dataset` may name it.
pub fn shape(table: &str) -> Option<&'static Shape> {
    SHAPES.iter().find(|shape| shape.table == table)
}

impl Shape {
    /// The names of the columns that a file fills, the key first.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.key).chain(self.columns.iter().map(|column| column.name))
    }
}
