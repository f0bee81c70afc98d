//! Fresh databases for tests: always SQLite, and PostgreSQL when `BETAGATE_TEST_POSTGRES` names one.
//!
//! Must not know: any table.
#![allow(clippy::unwrap_used, reason = "a test that cannot get its database must fail")]

use uuid::Uuid;

use super::Store;

/// Runs a test on a fresh, migrated database of each kind.
pub(crate) async fn on_each<F: AsyncFn(Store)>(test: F) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite:{}", folder.path().join("betagate.db").display())).await.unwrap();
    store.migrate().await.unwrap();
    test(store.clone()).await;
    store.close().await;
    if let Ok(address) = std::env::var("BETAGATE_TEST_POSTGRES") {
        let schema = format!("test_{}", Uuid::now_v7().simple());
        let join = if address.contains('?') { '&' } else { '?' };
        let store = Store::open(&format!("{address}{join}schema={schema}")).await.unwrap();
        store.migrate().await.unwrap();
        test(store.clone()).await;
        store.execute(&format!("DROP SCHEMA {schema}, {schema}_checks CASCADE"), &[]).await.unwrap();
        store.close().await;
    }
}
