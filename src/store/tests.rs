//! The seam itself: values there and back, transactions, migrations, refusals.
#![allow(clippy::unwrap_used, reason = "tests")]

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::testing::on_each;
use super::{Dialect, Kind, Store, StoreError};
use crate::args;

fn table(store: &Store) -> &'static str {
    store.dialect().pick(
        "CREATE TABLE probe (id uuid PRIMARY KEY, n bigint, f double precision, t text, b boolean, y bytea,
            at timestamptz, j jsonb)",
        "CREATE TABLE probe (id TEXT PRIMARY KEY, n INTEGER, f REAL, t TEXT, b INTEGER, y BLOB, at INTEGER, j TEXT) STRICT",
    )
}

#[tokio::test]
async fn a_postgresql_server_ends_the_transaction_of_a_client_that_vanished() {
    on_each(async |store| {
        if store.dialect() != Dialect::Postgres {
            return;
        }
        let set = async |name: &str| {
            let row = store.one("SELECT current_setting($1) AS value", args![name]).await.unwrap();
            row.get::<String>("value").unwrap()
        };
        assert_eq!(set("idle_in_transaction_session_timeout").await, "30s");
        assert_eq!(set("search_path").await.split('_').next(), Some("test"), "beside the schema");
        // It is waited for no longer than that, and who was thought dead is told to try again.
        let mut tx = store.begin().await.unwrap();
        let pid: i64 = tx.one("SELECT pg_backend_pid()::bigint AS pid", args![]).await.unwrap().get("pid").unwrap();
        tx.execute("SET LOCAL idle_in_transaction_session_timeout = '50ms'", args![]).await.unwrap();
        let there = "SELECT count(*) AS n FROM pg_stat_activity WHERE pid = $1";
        while store.one(there, args![pid]).await.unwrap().get::<i64>("n").unwrap() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let error = tx.execute("SELECT 1", args![]).await.unwrap_err();
        assert!(error.retryable(), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_text_with_a_nul_is_refused_by_either_database() {
    on_each(async |store| {
        store.execute(table(&store), args![]).await.unwrap();
        let insert = "INSERT INTO probe (id, t, j) VALUES ($1, $2, $3)";
        let nul = "a\0b";
        for (text, body) in [(nul, json!({})), ("", json!({ "of": [nul] })), ("", json!({ nul: 1 }))] {
            let refused = store.execute(insert, args![Uuid::now_v7(), text, body]).await.unwrap_err();
            assert_eq!(refused, StoreError::Nul);
        }
        assert!(store.all("SELECT id FROM probe", args![]).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn every_kind_of_value_comes_back_as_it_went_in() {
    on_each(async |store| {
        store.execute(table(&store), args![]).await.unwrap();
        let id = Uuid::now_v7();
        let at: Timestamp = "2026-03-02T18:00:00.123456789Z".parse().unwrap();
        let body = json!({"b": [1, 2.5, null], "a": "ä"});
        let insert = "INSERT INTO probe (id, n, f, t, b, y, at, j) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        store.execute(insert, args![id, i64::MAX, 0.1, "täxt", true, vec![0_u8, 255], at, &body]).await.unwrap();
        let row = store.one("SELECT * FROM probe WHERE id = $1", args![id]).await.unwrap();
        assert_eq!(row.get::<Uuid>("id").unwrap(), id);
        assert_eq!(row.get::<i64>("n").unwrap(), i64::MAX);
        assert_eq!(row.get::<f64>("f").unwrap(), 0.1);
        assert_eq!(row.get::<String>("t").unwrap(), "täxt");
        assert!(row.get::<bool>("b").unwrap());
        assert_eq!(row.get::<Vec<u8>>("y").unwrap(), [0, 255]);
        assert_eq!(row.get::<Timestamp>("at").unwrap().to_string(), "2026-03-02T18:00:00.123456Z");
        assert_eq!(row.get::<Value>("j").unwrap(), body);
        assert!(row.get::<i64>("nothing").is_err());
        assert!(row.get::<bool>("t").is_err());
    })
    .await;
}

#[tokio::test]
async fn null_is_an_option_and_an_error_otherwise() {
    on_each(async |store| {
        store.execute(table(&store), args![]).await.unwrap();
        let insert = "INSERT INTO probe (id, n, f, t, b, y, at, j) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let nulls = args![
            Uuid::now_v7(),
            None::<i64>,
            None::<f64>,
            None::<String>,
            None::<bool>,
            None::<Vec<u8>>,
            None::<Timestamp>,
            super::Arg::Null(Kind::Json),
        ];
        store.execute(insert, nulls).await.unwrap();
        let row = store.one("SELECT * FROM probe", args![]).await.unwrap();
        assert_eq!(row.get::<Option<i64>>("n").unwrap(), None);
        assert_eq!(row.get::<Option<Timestamp>>("at").unwrap(), None);
        assert_eq!(row.get::<Option<Value>>("j").unwrap(), None);
        assert!(row.get::<i64>("n").is_err());
    })
    .await;
}

#[tokio::test]
async fn sums_averages_and_lists_read_the_same() {
    on_each(async |store| {
        store.execute(table(&store), args![]).await.unwrap();
        for n in [-70_000_i64, 5, 12_345_678_901] {
            let insert = "INSERT INTO probe (id, n, t) VALUES ($1, $2, $3)";
            store.execute(insert, args![Uuid::now_v7(), n, n.to_string()]).await.unwrap();
        }
        let row = store.one("SELECT sum(n) AS s, count(*) AS c, min(n) AS m FROM probe", args![]).await.unwrap();
        assert_eq!(row.get::<i64>("s").unwrap(), 12_345_608_906);
        assert_eq!(row.get::<i64>("c").unwrap(), 3);
        assert_eq!(row.get::<f64>("m").unwrap(), -70_000.0);
        let some = format!("SELECT n FROM probe WHERE {} ORDER BY n", store.dialect().any("t", "$1"));
        let rows = store.all(&some, args![vec!["5".to_owned(), "-70000".to_owned(), "9".to_owned()]]).await.unwrap();
        assert_eq!(rows.len(), 2);
        let some = format!("SELECT n FROM probe WHERE {} ORDER BY n", store.dialect().any("n", "$1"));
        assert_eq!(store.all(&some, args![vec![5_i64]]).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_dropped_transaction_leaves_nothing_and_a_unique_key_is_a_conflict() {
    on_each(async |store| {
        store.execute(table(&store), args![]).await.unwrap();
        let id = Uuid::now_v7();
        let mut tx = store.begin().await.unwrap();
        tx.execute("INSERT INTO probe (id) VALUES ($1)", args![id]).await.unwrap();
        drop(tx);
        assert!(store.opt("SELECT id FROM probe", args![]).await.unwrap().is_none());
        store.execute("INSERT INTO probe (id) VALUES ($1)", args![id]).await.unwrap();
        let again = store.execute("INSERT INTO probe (id) VALUES ($1)", args![id]).await;
        assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
        assert!(matches!(store.one("SELECT id FROM probe WHERE n = 1", args![]).await, Err(StoreError::Missing(_))));
        assert!(matches!(store.all("SELECT nonsense", args![]).await, Err(StoreError::Database(_))));
    })
    .await;
}

#[tokio::test]
async fn migrating_twice_does_nothing_the_second_time() {
    on_each(async |store| {
        let again = store.migrate().await.unwrap();
        assert!(again.applied.is_empty());
        assert!(store.is_current().await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_newer_database_is_refused_and_left_alone() {
    on_each(async |store| {
        let insert = "INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES ($1, $2, $3, $4)";
        store.execute(insert, args![100_000_i64, "future", "", Timestamp::UNIX_EPOCH]).await.unwrap();
        let refused = store.migrate().await;
        assert!(matches!(refused, Err(StoreError::Newer { found: 100_000, .. })), "{refused:?}");
        assert!(matches!(store.is_current().await, Err(StoreError::Newer { .. })));
    })
    .await;
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_unavailable_and_its_password_stays_unsaid() {
    let refused = Store::open("postgres://someone:hunter2@127.0.0.1:1/db").await.unwrap_err();
    assert!(refused.retryable(), "{refused:?}");
    assert!(!format!("{refused} {refused:?}").contains("hunter2"));
    for wrong in ["mysql://a:hunter2@b/c", "postgres://a:hunter2@[/", "postgres://a:hunter2@b/c?schema=A;B", "sqlite:"]
    {
        let refused = Store::open(wrong).await.unwrap_err();
        assert!(matches!(refused, StoreError::Invalid(_)), "{refused:?}");
        assert!(!format!("{refused} {refused:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn readers_of_sqlite_do_not_wait_for_the_writer() {
    on_each(async |store| {
        if store.dialect() != Dialect::Sqlite {
            return;
        }
        store.execute(table(&store), args![]).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        tx.execute("INSERT INTO probe (id) VALUES ($1)", args![Uuid::now_v7()]).await.unwrap();
        assert!(store.opt("SELECT id FROM probe", args![]).await.unwrap().is_none());
        assert!(store.all("INSERT INTO probe (id) VALUES ('x') RETURNING id", args![]).await.is_err());
        tx.commit().await.unwrap();
        assert!(store.opt("SELECT id FROM probe", args![]).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn lost_connections_are_opened_again() {
    on_each(async |store| {
        if store.dialect() != Dialect::Postgres {
            return;
        }
        let mut tx = store.begin().await.unwrap();
        let mine = tx.one("SELECT pg_backend_pid() AS pid", args![]).await.unwrap().get::<i64>("pid").unwrap();
        store.one("SELECT pg_terminate_backend($1::int4)", args![mine]).await.unwrap();
        let lost = tx.execute("UPDATE leadership SET epoch = 9", args![]).await.unwrap_err();
        assert!(lost.retryable(), "{lost:?}");
        drop(tx);
        for _ in 0..10 {
            store.one("SELECT epoch FROM leadership WHERE epoch = 0", args![]).await.unwrap();
            store.execute("UPDATE leadership SET holder = 'a'", args![]).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_sqlite_file_is_its_owners_and_what_is_no_database_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("betagate.db");
    let store = Store::open(&format!("sqlite:{}", path.display())).await.unwrap();
    assert!(store.migrations().await.unwrap().is_empty());
    assert!(!store.is_current().await.unwrap());
    store.migrate().await.unwrap();
    for file in ["betagate.db", "betagate.db-wal"] {
        let mode = std::fs::metadata(folder.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let missing = Store::open(&format!("sqlite:{}/no/such.db", folder.path().display())).await;
    assert!(matches!(missing, Err(StoreError::Invalid(_))), "{missing:?}");
    let text = folder.path().join("text");
    std::fs::write(&text, "this is no database, but long enough to look at. ".repeat(100)).unwrap();
    let wrong = Store::open(&format!("sqlite:{}", text.display())).await;
    assert!(matches!(wrong, Err(StoreError::Database(_))), "{wrong:?}");
}
