//! The tables of a database, in an order in which rows can be inserted: what is referred to comes first.
//!
//! Must not know: what a table means.

use std::collections::{BTreeMap, BTreeSet};

use super::cells::Want;
use crate::args;
use crate::store::{Dialect, StoreError, Tx};

/// A table and its columns that can be written.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<(String, Want)>,
    /// The column that counts by itself, on PostgreSQL.
    identity: Option<String>,
}

impl Table {
    /// Its name as an identifier.
    pub(super) fn quoted(&self) -> String {
        quote(&self.name)
    }

    /// What each of these columns wants.
    pub(super) fn types_of(&self, columns: &[String]) -> Result<Vec<Want>, StoreError> {
        let of = |column: &String| {
            let found = self.columns.iter().find(|(name, _)| name == column).map(|(_, want)| *want);
            found.ok_or_else(|| StoreError::Invalid(format!("the backup has a column `{}.{column}`", self.name)))
        };
        columns.iter().map(of).collect()
    }
}

/// An identifier in quotes.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

const POSTGRES_COLUMNS: &str = "SELECT c.relname::text AS table_name, a.attname::text AS column_name,
        t.typname::text AS type_name, a.attidentity <> '' AS identity
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
        JOIN pg_type t ON t.oid = a.atttypid
    WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    ORDER BY c.relname, a.attnum";

const POSTGRES_REFERENCES: &str = "SELECT c.relname::text AS table_name, r.relname::text AS refers_to
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_class r ON r.oid = k.confrelid
    WHERE k.contype = 'f' AND k.connamespace = current_schema()::regnamespace";

const SQLITE_COLUMNS: &str = "SELECT m.name AS table_name, c.name AS column_name, 'any' AS type_name, false AS identity
    FROM sqlite_schema m, pragma_table_info(m.name) c
    WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, c.cid";

const SQLITE_REFERENCES: &str = "SELECT m.name AS table_name, f.\"table\" AS refers_to
    FROM sqlite_schema m, pragma_foreign_key_list(m.name) f WHERE m.type = 'table'";

/// What is in no backup: the history of migrations, and the changes from which processes that run now keep up.
const LEFT_OUT: [&str; 2] = ["schema_migrations", "member_changes"];

/// All tables that are in a backup.
pub(super) async fn all(tx: &mut Tx) -> Result<Vec<Table>, StoreError> {
    let dialect = tx.dialect();
    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    for row in tx.all(dialect.pick(POSTGRES_COLUMNS, SQLITE_COLUMNS), args![]).await? {
        let (name, column): (String, String) = (row.get("table_name")?, row.get("column_name")?);
        if LEFT_OUT.contains(&name.as_str()) {
            continue;
        }
        let want = match dialect {
            Dialect::Postgres => Want::of_postgres(&row.get::<String>("type_name")?)?,
            Dialect::Sqlite => Want::Any,
        };
        let identity = row.get::<bool>("identity")?.then(|| column.clone());
        let table = tables.entry(name.clone()).or_insert(Table { name, columns: Vec::new(), identity: None });
        table.columns.push((column, want));
        table.identity = identity.or(table.identity.take());
    }
    let mut refers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in tx.all(dialect.pick(POSTGRES_REFERENCES, SQLITE_REFERENCES), args![]).await? {
        let (from, to): (String, String) = (row.get("table_name")?, row.get("refers_to")?);
        if from != to {
            refers.entry(from).or_default().insert(to);
        }
    }
    Ok(referred_first(tables, &refers))
}

/// Orders tables so that what a table refers to comes before it; a circle is broken by name.
fn referred_first(mut left: BTreeMap<String, Table>, refers: &BTreeMap<String, BTreeSet<String>>) -> Vec<Table> {
    let mut ordered = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waits = |name: &String| refers.get(name).is_some_and(|to| to.iter().any(|to| left.contains_key(to)));
        let next = left.keys().find(|name| !waits(name)).or(left.keys().next()).cloned();
        ordered.extend(next.and_then(|name| left.remove(&name)));
    }
    ordered
}

/// Lets columns that count by themselves go on after the highest number brought.
pub(super) async fn reset_sequences(tx: &mut Tx, tables: &[Table]) -> Result<(), StoreError> {
    for table in tables {
        if let Some(column) = &table.identity {
            let sql = format!(
                "SELECT setval(pg_get_serial_sequence($1, $2), (SELECT coalesce(max({}), 0) + 1 FROM {}), false) AS next",
                quote(column),
                table.quoted()
            );
            tx.one(&sql, args![table.quoted(), column]).await?;
        }
    }
    Ok(())
}
