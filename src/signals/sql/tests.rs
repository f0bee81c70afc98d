//! On both databases: what a query may answer, what it may not do, and that it ends.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use uuid::Uuid;

use super::super::{Outcome, Why};
use super::{Database, measure};
use crate::args;
use crate::store::Store;

const DEADLINE: Duration = Duration::from_secs(5);

/// Runs a test on a migrated store of each kind, with its address.
async fn on_each<F: AsyncFn(Store, String)>(test: F) {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("sqlite:{}", folder.path().join("betagate.db").display());
    let store = Store::open(&address).await.unwrap();
    store.migrate().await.unwrap();
    test(store.clone(), address).await;
    store.close().await;
    if let Ok(server) = std::env::var("BETAGATE_TEST_POSTGRES") {
        let schema = format!("test_{}", Uuid::now_v7().simple());
        let join = if server.contains('?') { '&' } else { '?' };
        let address = format!("{server}{join}schema={schema}");
        let store = Store::open(&address).await.unwrap();
        store.migrate().await.unwrap();
        test(store.clone(), address).await;
        store.execute(&format!("DROP SCHEMA {schema}, {schema}_checks CASCADE"), &[]).await.unwrap();
        store.close().await;
    }
}

async fn ask(database: &Database, query: &str) -> Outcome {
    measure(database, query, DEADLINE, Timestamp::UNIX_EPOCH).await.outcome
}

fn value(value: f64) -> Outcome {
    Outcome::Value { value, numerator: None, denominator: None, samples: None }
}

fn says(outcome: &Outcome, word: &str) {
    match outcome {
        Outcome::Unknown(Why::SourceError(error)) => assert!(error.contains(word), "{error}"),
        other => panic!("wanted an error about {word}, got {other:?}"),
    }
}

async fn incident(store: &Store) {
    let at: Timestamp = "2026-03-03T10:00:00Z".parse().unwrap();
    let sql = "INSERT INTO incidents (program, name, severity, category, title, started_at, source, first_seen)
               VALUES ('p', 'i', 'sev-1', '', 'trouble', $1, 'test', $1)";
    store.execute(sql, args![at]).await.unwrap();
}

#[tokio::test]
async fn the_own_store_is_read_through_the_checks_views_only() {
    on_each(async |store, address| {
        incident(&store).await;
        let own = Database::own(address.into());
        assert_eq!(ask(&own, "SELECT count(*) FROM checks_incidents WHERE severity = 'sev-1';").await, value(1.0));
        let ratio = ask(&own, "SELECT count(*) AS numerator, 4 AS denominator FROM checks_incidents").await;
        assert_eq!(ratio, Outcome::Value { value: 0.25, numerator: Some(1.0), denominator: Some(4.0), samples: None });
        for query in [
            "SELECT count(*) FROM incidents",
            "SELECT count(*) FROM users",
            "SELECT count(*) FROM \"audit_log\"",
            "SELECT count(*) FROM (SELECT title FROM checks_incidents UNION SELECT email FROM users) x",
            "SELECT count(*) FROM pg_class",
            "SELECT count(*) FROM information_schema.tables",
            "SELECT count(*) FROM sqlite_schema",
        ] {
            says(&ask(&own, query).await, "checks");
        }
        says(&ask(&own, "SELECT title FROM checks_incidents").await, "");
        says(&ask(&own, "SELECT severity FROM checks_incidents").await, "no number");
    })
    .await;
}

#[tokio::test]
async fn a_query_answers_one_number_or_a_ratio_or_an_unknown() {
    on_each(async |store, address| {
        incident(&store).await;
        let product = Database::product("shop", address.into());
        assert_eq!(ask(&product, "SELECT 2.5").await, value(2.5));
        assert_eq!(ask(&product, "SELECT avg(n) FROM (SELECT 1 AS n UNION SELECT 2) x").await, value(1.5));
        assert_eq!(ask(&product, "SELECT 1 = 1").await, value(1.0));
        assert_eq!(ask(&product, "SELECT NULL").await, Outcome::Unknown(Why::NoData));
        assert_eq!(ask(&product, "SELECT 1 WHERE 1 = 0").await, Outcome::Unknown(Why::NoData));
        let nothing = "SELECT sum(n) AS numerator, count(*) AS denominator FROM (SELECT 1 AS n WHERE 1 = 0) x";
        assert_eq!(ask(&product, nothing).await, Outcome::Unknown(Why::NoData));
        assert_eq!(ask(&product, "SELECT count(*) FROM incidents").await, value(1.0));
        says(&ask(&product, "SELECT 1 UNION SELECT 2").await, "more than one row");
        says(&ask(&product, "SELECT 1 AS a, 2 AS b").await, "the columns a, b");
        says(&ask(&product, "SELECT n FROM no_such_table").await, "no_such_table");
        says(&ask(&product, "SELECT 'many'").await, "no number");
    })
    .await;
}

#[tokio::test]
async fn a_query_cannot_write_or_leave_its_bounds() {
    on_each(async |store, address| {
        incident(&store).await;
        let product = Database::product("shop", address.into());
        for query in [
            "DELETE FROM incidents",
            "SELECT 1; DELETE FROM incidents",
            "SELECT 1) AS a; DELETE FROM incidents; SELECT (1",
            "WITH gone AS (DELETE FROM incidents RETURNING name) SELECT count(*) FROM gone",
            "ATTACH 'other.db' AS other",
        ] {
            says(&ask(&product, query).await, "shop: ");
        }
        let left = store.one("SELECT COUNT(*) AS n FROM incidents", args![]).await.unwrap();
        assert_eq!(left.get::<i64>("n").unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_query_without_end_is_ended() {
    on_each(async |_, address| {
        let product = Database::product("shop", address.into());
        let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
        let outcome = measure(&product, endless, Duration::from_millis(300), Timestamp::UNIX_EPOCH).await.outcome;
        assert!(
            matches!(&outcome, Outcome::Unknown(Why::SourceError(e)) if e.contains("too long") || e.contains("no answer")),
            "{outcome:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_database_that_is_not_there_is_a_source_error_without_its_address() {
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    for address in [format!("postgres://ada:hunter2@127.0.0.1:{port}/x"), "sqlite:/nowhere/hunter2.db".into()] {
        let database = Database::product("shop", SecretString::from(address));
        let outcome = measure(&database, "SELECT 1", Duration::from_millis(500), Timestamp::UNIX_EPOCH).await.outcome;
        says(&outcome, "shop: ");
        assert!(!format!("{outcome:?} {database:?}").contains("hunter2"));
    }
}
