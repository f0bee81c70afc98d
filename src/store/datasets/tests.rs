#![allow(clippy::unwrap_used, reason = "tests")]

use betagate_core::dataset::{Rows, shape};
use serde_json::json;

use super::super::testing::on_each;
use super::*;

fn hand() -> Hand<'static> {
    let shape = shape("movement_library").unwrap();
    Hand { shape, program: "coach", dataset: "movements", actor: "test", now: "2026-03-02T08:00:00Z".parse().unwrap() }
}

fn rows(named: &[(&str, &str)]) -> Vec<Wanted> {
    let rows: Vec<Value> = named
        .iter()
        .map(|(id, name)| json!({ "movement_id": id, "name": name, "category": "squat", "modalities": ["barbell", "bodyweight"] }))
        .collect();
    Rows::read("m.json", Value::from(rows).to_string().as_bytes(), hand().shape).unwrap().rows
}

async fn seed(store: &Store, named: &[(&str, &str)]) {
    let mut tx = store.begin().await.unwrap();
    import(&mut tx, &hand(), &rows(named)).await.unwrap();
    let keys: Vec<String> = named.iter().map(|(id, _)| (*id).to_owned()).collect();
    assert_eq!(publish(&mut tx, &hand(), &keys).await.unwrap().len(), keys.len());
    assert!(publish(&mut tx, &hand(), &keys).await.unwrap().is_empty(), "a second time changes nothing");
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn rows_come_in_as_drafts_are_published_change_names_with_each_other_and_go() {
    on_each(async |store| {
        let shape = hand().shape;
        let mut tx = store.begin().await.unwrap();
        import(&mut tx, &hand(), &rows(&[("a", "A"), ("b", "B")])).await.unwrap();
        assert_eq!(counts_in(&mut tx, shape).await.unwrap(), [("draft".to_owned(), 2)].into());
        drop(tx);
        assert!(counts(&store, shape).await.unwrap().is_empty(), "what was rolled back was not done");
        seed(&store, &[("a", "A"), ("b", "B"), ("c", "C")]).await;
        let mut tx = store.begin().await.unwrap();
        update(&mut tx, &hand(), &rows(&[("a", "B"), ("b", "A")])).await.unwrap();
        remove(&mut tx, &hand(), &["c".to_owned()]).await.unwrap();
        tx.commit().await.unwrap();
        let there = live(&store, shape).await.unwrap();
        let told: Vec<_> = there.iter().map(|row| (row.key.as_str(), row.values["name"].as_str().unwrap())).collect();
        assert_eq!(told, [("a", "B"), ("b", "A")]);
        assert!(there.iter().all(|row| row.is_sound()));
        assert_eq!(there[0].values, rows(&[("a", "B")])[0].values, "both databases give back what was brought in");
        let audited: Vec<_> = audited(&store, shape).await.unwrap().into_iter().collect();
        let wanted = [("imported", 3), ("published", 3), ("removed", 1), ("updated", 2)];
        assert_eq!(audited, wanted.map(|(action, count)| (action.to_owned(), count)));
    })
    .await;
}

#[tokio::test]
async fn a_name_that_is_taken_is_a_conflict_and_so_is_a_row_that_is_there() {
    on_each(async |store| {
        seed(&store, &[("a", "A")]).await;
        for taken in [("a", "other"), ("b", "A")] {
            let mut tx = store.begin().await.unwrap();
            let error = import(&mut tx, &hand(), &rows(&[taken])).await.unwrap_err();
            assert!(matches!(error, StoreError::Conflict(_)), "{error:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_dump_puts_back_all_three_tables_as_they_were() {
    on_each(async |store| {
        let shape = hand().shape;
        let mut tx = store.begin().await.unwrap();
        assert_eq!(keep_dump(&mut tx, &hand(), "nothing", true).await.unwrap(), None, "nothing is no dump");
        drop(tx);
        seed(&store, &[("a", "A"), ("b", "B")]).await;
        let mut tx = store.begin().await.unwrap();
        let before = read_body(&mut tx, shape).await.unwrap();
        let kept = keep_dump(&mut tx, &hand(), "before the file changes", true).await.unwrap().unwrap();
        keep_dump(&mut tx, &hand(), "before it is undone", false).await.unwrap();
        clear(&mut tx, shape).await.unwrap();
        tx.commit().await.unwrap();
        assert!(counts(&store, shape).await.unwrap().is_empty() && audited(&store, shape).await.unwrap().is_empty());
        let mut tx = store.begin().await.unwrap();
        let (newest, body) = newest_dump(&mut tx, shape, true).await.unwrap().unwrap();
        assert_eq!((newest, &body), (kept, &before));
        assert_eq!(newest_dump(&mut tx, shape, false).await.unwrap().unwrap().0.reason, "before it is undone");
        put_back(&mut tx, shape, &body).await.unwrap();
        assert_eq!(read_body(&mut tx, shape).await.unwrap(), before);
        tx.commit().await.unwrap();
        for (field, value) in [("status", json!("gone")), ("modalities", json!("barbell")), ("owner", json!("me"))] {
            let mut bad = body.clone();
            bad.library[0].insert(field.to_owned(), value);
            let mut tx = store.begin().await.unwrap();
            let error = put_back(&mut tx, shape, &bad).await.unwrap_err();
            assert!(matches!(&error, StoreError::Invalid(said) if said.contains(field)), "{error:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_tables_are_what_the_list_of_shapes_says() {
    on_each(async |store| {
        for shape in betagate_core::dataset::SHAPES {
            for (table, own) in [(shape.table, "status"), (shape.staging, "digest")] {
                let rows = store.all(&format!("SELECT * FROM {table}"), args![]).await.unwrap();
                assert!(rows.is_empty());
                let names: Vec<&str> = shape.names().chain([own]).collect();
                store.all(&format!("SELECT {} FROM {table}", names.join(", ")), args![]).await.unwrap();
            }
            store.all(&format!("SELECT {}, action FROM {}", shape.key, shape.audit), args![]).await.unwrap();
        }
    })
    .await;
}

/// The queries of seed 003, "Verification" and "Database Validation", word for word.
#[tokio::test]
async fn the_queries_of_seed_003_run_word_for_word() {
    on_each(async |store| {
        let eight: Vec<(String, String)> = (0..8).map(|n| (format!("m{n}"), format!("Movement {n}"))).collect();
        let eight: Vec<(&str, &str)> = eight.iter().map(|(id, name)| (id.as_str(), name.as_str())).collect();
        seed(&store, &eight).await;
        let one = async |sql: &str, column: &str| store.one(sql, args![]).await.unwrap().get::<i64>(column).unwrap();
        assert_eq!(one("SELECT COUNT(*) AS n FROM movement_library;", "n").await, 8);
        let all = "SELECT \n  movement_id,\n  name,\n  category,\n  modalities,\n  status\nFROM movement_library\nORDER BY name;";
        assert_eq!(store.all(all, args![]).await.unwrap().len(), 8);
        assert!(one("SELECT COUNT(*) AS n FROM movement_audit_log;", "n").await > 0);
        let by = |what: &str, table: &str| format!("SELECT \n  {what},\n  COUNT(*) as count\nFROM {table}\nGROUP BY {what};");
        assert_eq!(one(&by("status", "movement_library"), "count").await, 8);
        let actions = store.all(&by("action", "movement_audit_log"), args![]).await.unwrap();
        let counts: Vec<i64> = actions.iter().map(|row| row.get("count").unwrap()).collect();
        assert_eq!(counts, [8, 8]);
        let twice = "SELECT name, COUNT(*) \nFROM movement_library \nGROUP BY name \nHAVING COUNT(*) > 1;";
        assert!(store.all(twice, args![]).await.unwrap().is_empty());
        if store.dialect() == Dialect::Postgres {
            let truncate = "TRUNCATE movement_library, movement_staging, movement_audit_log CASCADE;";
            store.execute(truncate, args![]).await.unwrap();
            assert_eq!(one("SELECT COUNT(*) AS n FROM movement_library;", "n").await, 0);
        }
    })
    .await;
}
