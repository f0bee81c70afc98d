//! Fresh databases: a SQLite file always, a PostgreSQL database whenever `tests/run` (or a developer) gives a server.

use std::path::PathBuf;

use sqlx::{Connection, Executor, PgConnection};
use url::Url;
use uuid::Uuid;

/// An empty database for one test. It is gone when this is dropped.
pub struct TestDb {
    /// `sqlite:PATH` or `postgres://…`, as `Store::open` and `--database` take it.
    pub url: String,
    /// `sqlite` or `postgres`, for the messages of assertions.
    pub name: &'static str,
    // Held for their clean-up.
    _folder: Option<tempfile::TempDir>,
    _dropped: Option<DropDatabase>,
}

/// One fresh database of each kind that there is here: what a behaviour has to hold on.
pub fn databases() -> Vec<TestDb> {
    if super::applied::on_cluster() {
        // The controllers of a cluster share one.
        return postgres().into_iter().collect();
    }
    std::iter::once(sqlite()).chain(postgres()).collect()
}

/// A path in a temporary folder at which SQLite will make its file.
pub fn sqlite() -> TestDb {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path: PathBuf = folder.path().join("betagate.db");
    TestDb { url: format!("sqlite:{}", path.display()), name: "sqlite", _folder: Some(folder), _dropped: None }
}

/// A new database on the server of `BETAGATE_TEST_POSTGRES`; none without that variable, so that `cargo test` works without a server.
pub fn postgres() -> Option<TestDb> {
    let server = std::env::var("BETAGATE_TEST_POSTGRES").ok().filter(|url| !url.is_empty())?;
    let database = format!("t_{}", Uuid::new_v4().simple());
    administer(&server, format!("CREATE DATABASE {database}")).expect("the test server lets its user create databases");
    let mut url = Url::parse(&server).expect("BETAGATE_TEST_POSTGRES is a URL");
    url.set_path(&database);
    let dropped = DropDatabase { server, database };
    Some(TestDb { url: url.into(), name: "postgres", _folder: None, _dropped: Some(dropped) })
}

impl TestDb {
    /// A copy of it, to which nobody is connected: what takes time to make is made once for many tests.
    pub fn copy(&self) -> TestDb {
        let Some(DropDatabase { server, database: from }) = &self._dropped else {
            let copied = sqlite();
            let path = |url: &str| url.trim_start_matches("sqlite:").to_owned();
            std::fs::copy(path(&self.url), path(&copied.url)).expect("a readable file");
            return copied;
        };
        let database = format!("t_{}", Uuid::new_v4().simple());
        let copy = format!("CREATE DATABASE {database} TEMPLATE {from}");
        administer(server, copy).expect("the test server lets its user create databases");
        let mut url = Url::parse(&self.url).expect("it was a URL before");
        url.set_path(&database);
        let dropped = DropDatabase { server: server.clone(), database };
        TestDb { url: url.into(), name: self.name, _folder: None, _dropped: Some(dropped) }
    }
}

struct DropDatabase {
    server: String,
    database: String,
}

impl Drop for DropDatabase {
    fn drop(&mut self) {
        // FORCE also ends connections that the test still holds.
        if let Err(error) = administer(&self.server, format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.database))
        {
            eprintln!("{} stays behind: {error}", self.database);
        }
    }
}

/// Runs one statement on a thread and runtime of its own, since the test may or may not be inside a runtime.
fn administer(server: &str, statement: String) -> Result<(), sqlx::Error> {
    let server = server.to_owned();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut connection = PgConnection::connect(&server).await?;
            connection.execute(sqlx::AssertSqlSafe(statement)).await?;
            connection.close().await
        })
    })
    .join()
    .expect("the administering thread does not panic")
}
