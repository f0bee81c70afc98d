//! The harness's own promise: two tests never meet in one database, and none is left behind.

use std::str::FromStr;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};

use crate::support::databases;

/// Runs one statement on a connection of its own; SQLite makes its file at the first one.
async fn execute(url: &str, statement: &'static str) -> Result<u64, sqlx::Error> {
    if url.starts_with("sqlite:") {
        let mut connection = SqliteConnectOptions::from_str(url)?.create_if_missing(true).connect().await?;
        Ok(connection.execute(statement).await?.rows_affected())
    } else {
        let mut connection = PgConnection::connect(url).await?;
        Ok(connection.execute(statement).await?.rows_affected())
    }
}

#[tokio::test]
async fn what_one_writes_the_other_does_not_see() {
    for (one, other) in databases().iter().zip(&databases()) {
        assert_eq!(one.name, other.name);
        execute(&one.url, "CREATE TABLE seen (n INTEGER)").await.unwrap();
        assert_eq!(execute(&one.url, "INSERT INTO seen VALUES (1)").await.unwrap(), 1, "{}", one.name);
        execute(&other.url, "INSERT INTO seen VALUES (2)").await.expect_err("the other has no such table");
    }
}

#[tokio::test]
async fn a_dropped_database_is_gone() {
    for database in databases() {
        execute(&database.url, "CREATE TABLE seen (n INTEGER)").await.unwrap();
        let (name, url) = (database.name, database.url.clone());
        drop(database);
        assert!(execute(&url, "INSERT INTO seen VALUES (1)").await.is_err(), "{name} is still there");
    }
}
