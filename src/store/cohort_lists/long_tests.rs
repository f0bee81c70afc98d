//! A long list: opened, one row changed, taken out, put back. Every step touches what changed and nothing else. 20,000 rows; `BETAGATE_SOAK` times
//! as many.
#![allow(clippy::unwrap_used, reason = "tests")]

use jiff::Timestamp;

use super::super::invites::{self, Invite, State};
use super::super::testing::on_each;
use super::super::{Dialect, Store, audit};
use super::*;
use crate::args;
use crate::keys::{Key, Keys};

const ROWS: usize = 20_000;
/// Writes down every row that is touched, once it is there.
const SQLITE_WATCH: [&str; 4] = [
    "CREATE TABLE touched (what TEXT, id TEXT)",
    "CREATE TRIGGER touched_insert AFTER INSERT ON beta_invites BEGIN INSERT INTO touched VALUES ('insert', NEW.id); END",
    "CREATE TRIGGER touched_update AFTER UPDATE ON beta_invites BEGIN INSERT INTO touched VALUES ('update', NEW.id); END",
    "CREATE TRIGGER touched_delete AFTER DELETE ON beta_invites BEGIN INSERT INTO touched VALUES ('delete', OLD.id); END",
];
const POSTGRES_WATCH: [&str; 3] = [
    "CREATE TABLE touched (what text, id text)",
    "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO touched VALUES (lower(TG_OP), coalesce(NEW.id, OLD.id)::text); RETURN NULL; END $$",
    "CREATE TRIGGER touched AFTER INSERT OR UPDATE OR DELETE ON beta_invites FOR EACH ROW EXECUTE FUNCTION touch()",
];

fn noon() -> Timestamp {
    "2026-03-02T12:00:00Z".parse().unwrap()
}

async fn bring(store: &Store, lines: &[String]) -> (ListDelta, Brought) {
    let [invite, pseudonym, credential, token] = [1, 2, 3, 4].map(|byte| Key::new([byte; 32]));
    let keys = Keys { invite, pseudonym, credential, token };
    let source = ListSource::Bytes(lines.concat().into_bytes().into());
    let list = CohortList { program: "kruxt".into(), cohort: "pavia".into(), source };
    let prepared = prepare(store, &keys, &list, &ListOptions::default()).await.unwrap();
    let writer = Writer { actor: "controller", epoch: None };
    let brought = bring_in(store, &keys, &list, &prepared, writer, noon()).await.unwrap();
    (prepared.delta, brought)
}

async fn of(store: &Store, email: &str) -> Invite {
    let filter = invites::Filter { email: Some(email.into()), limit: 2, ..invites::Filter::default() };
    let mut found = invites::list(store, &filter).await.unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

async fn number(store: &Store, sql: &str) -> i64 {
    store.one(sql, args![]).await.unwrap().get("n").unwrap()
}

/// Whose rows were touched since the last look, and whether any row came or went.
async fn touched(store: &Store) -> (Vec<String>, i64) {
    let rows = store.all("SELECT DISTINCT id FROM touched ORDER BY id", args![]).await.unwrap();
    let others = number(store, "SELECT count(*) AS n FROM touched WHERE what <> 'update'").await;
    store.execute("DELETE FROM touched", args![]).await.unwrap();
    (rows.iter().map(|row| row.get("id").unwrap()).collect(), others)
}

/// The entries of the list in the audit log, as `[added, changed, revoked]`.
async fn entries(store: &Store) -> Vec<[i64; 3]> {
    let rows =
        store.all("SELECT detail FROM audit_log WHERE action = 'cohort.list' ORDER BY seq", args![]).await.unwrap();
    let detail = |row: &super::super::Row| row.get::<serde_json::Value>("detail").unwrap();
    rows.iter().map(|row| ["added", "changed", "revoked"].map(|field| detail(row)[field].as_i64().unwrap())).collect()
}

#[tokio::test]
async fn a_long_list_is_opened_and_a_row_of_it_changed_removed_and_put_back() {
    let times = std::env::var("BETAGATE_SOAK").ok().and_then(|times| times.parse::<usize>().ok()).unwrap_or(1);
    let count = ROWS * times;
    // Spread like real addresses, not in the order of an index.
    let spread = |n: usize| (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let lines: Vec<String> =
        (0..count).map(|n| format!("t{:x}.{n}@example.com,listener-{}\n", spread(n), n % 40)).collect();
    let at = count / 3;
    let email = lines[at].split(',').next().unwrap().to_owned();
    on_each(async move |store| {
        let mut lines = lines.clone();
        let n = i64::try_from(count).unwrap();
        bring(&store, &lines).await;
        let opened = of(&store, &email).await;
        assert_eq!((opened.state, opened.generation, opened.label), (State::Pending, 1, format!("listener-{}", at % 40)));
        let in_order = "SELECT count(*) AS n FROM beta_invites WHERE state = 'pending' AND generation = 1 AND position BETWEEN 1 AND ";
        assert_eq!(number(&store, &format!("{in_order}{n}")).await, n);
        assert_eq!(number(&store, "SELECT count(DISTINCT position) AS n FROM beta_invites").await, n);
        assert_eq!(entries(&store).await, [[n, 0, 0]]);
        let watch: &[&str] = if store.dialect() == Dialect::Sqlite { &SQLITE_WATCH } else { &POSTGRES_WATCH };
        for statement in watch {
            store.execute(statement, args![]).await.unwrap();
        }
        let id = opened.id.to_string();

        lines[at] = format!("{email},creator-new\n");
        bring(&store, &lines).await;
        assert_eq!(touched(&store).await, (vec![id.clone()], 0));
        let changed = of(&store, &email).await;
        assert_eq!((changed.state, changed.generation, changed.role.as_str()), (State::Pending, 1, "creator"));

        let gone = lines.remove(at);
        let (_, brought) = bring(&store, &lines).await;
        assert_eq!((touched(&store).await, brought.revoked), ((vec![id.clone()], 0), 1));
        assert_eq!(of(&store, &email).await.state, State::Revoked);

        lines.push(gone);
        bring(&store, &lines).await;
        // PostgreSQL inserts what is there already as an update, SQLite too: no new row.
        assert_eq!(touched(&store).await, (vec![id], 0));
        let back = of(&store, &email).await;
        assert_eq!((back.id, back.state, back.generation, back.revoked_at), (opened.id, State::Pending, 2, None));
        let last = format!("SELECT count(*) AS n FROM beta_invites WHERE state = 'pending' AND position > {n}");
        assert_eq!(number(&store, &last).await, 1, "put back at the end of the queue");

        bring(&store, &lines).await;
        assert_eq!(touched(&store).await, (Vec::new(), 0));
        assert_eq!(entries(&store).await, [[n, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]);
        assert_eq!(number(&store, "SELECT count(*) AS n FROM beta_invites WHERE state = 'pending'").await, n);
        assert!(audit::verify(&store).await.unwrap().problem.is_none());
    })
    .await;
}
