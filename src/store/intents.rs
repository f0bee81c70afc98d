//! Changes asked for over HTTP: written by API processes, carried out by the controller, the answer on the row.
//!
//! Must not know: how a change is carried out.

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::states::words;
use super::{Row, Store, StoreError, Tx, push};
use crate::args;

words! {
    /// Where an intent stands.
    pub enum State {
        /// Not carried out yet.
        Waiting = "waiting",
        /// Carried out.
        Done = "done",
        /// Not to be carried out; the result says why.
        Refused = "refused",
    }
}

/// A change asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// Its id.
    pub id: Uuid,
    /// What is asked for (`flag.set`, `incident`, `signoff`).
    pub kind: String,
    /// Who asks.
    pub actor: String,
    /// The particulars.
    pub body: Value,
    /// Where it stands.
    pub state: State,
    /// What came of it.
    pub result: Option<Value>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was carried out or refused.
    pub done_at: Option<Timestamp>,
}

/// Asks for a change; gives its id.
pub async fn submit(tx: &mut Tx, kind: &str, actor: &str, body: &Value, now: Timestamp) -> Result<Uuid, StoreError> {
    let id = Uuid::now_v7();
    let insert =
        "INSERT INTO intents (id, kind, actor, body, state, created_at) VALUES ($1, $2, $3, $4, 'waiting', $5)";
    tx.execute(insert, args![id, kind, actor, body, now]).await?;
    push::word(tx).await?;
    Ok(id)
}

/// What waits to be carried out, oldest first.
pub async fn waiting(store: &Store, limit: i64) -> Result<Vec<Intent>, StoreError> {
    let sql = "SELECT * FROM intents WHERE state = 'waiting' ORDER BY created_at, id LIMIT $1";
    store.all(sql, args![limit]).await?.iter().map(read).collect()
}

/// Records what came of a change, in the transaction that carries it out.
///
/// # Errors
/// [`StoreError::Missing`] when it does not wait (any more).
pub async fn answer(tx: &mut Tx, id: Uuid, state: State, result: &Value, now: Timestamp) -> Result<(), StoreError> {
    let update = "UPDATE intents SET state = $2, result = $3, done_at = $4 WHERE id = $1 AND state = 'waiting'";
    match tx.execute(update, args![id, state.as_str(), result, now]).await? {
        1 => Ok(()),
        _ => Err(StoreError::Missing(format!("no waiting intent {id}"))),
    }
}

/// An intent.
pub async fn get(store: &Store, id: Uuid) -> Result<Option<Intent>, StoreError> {
    store.opt("SELECT * FROM intents WHERE id = $1", args![id]).await?.as_ref().map(read).transpose()
}

/// Deletes what was answered before `before`; says how many.
pub async fn prune(tx: &mut Tx, before: Timestamp) -> Result<u64, StoreError> {
    tx.execute("DELETE FROM intents WHERE done_at < $1", args![before]).await
}

fn read(row: &Row) -> Result<Intent, StoreError> {
    Ok(Intent {
        id: row.get("id")?,
        kind: row.get("kind")?,
        actor: row.get("actor")?,
        body: row.get("body")?,
        state: row.get::<String>("state")?.parse()?,
        result: row.get("result")?,
        created_at: row.get("created_at")?,
        done_at: row.get("done_at")?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::testing::on_each;
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn an_intent_is_answered_once() {
        on_each(async |store| {
            let at = |second| Timestamp::from_second(second).unwrap();
            let mut tx = store.begin().await.unwrap();
            let first = submit(&mut tx, "flag.set", "token/1", &json!({"key": "x"}), at(1)).await.unwrap();
            submit(&mut tx, "signoff", "token/1", &json!({}), at(1)).await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!(waiting(&store, 10).await.unwrap().len(), 2);
            let mut tx = store.begin().await.unwrap();
            answer(&mut tx, first, State::Refused, &json!({"why": "held"}), at(2)).await.unwrap();
            let again = answer(&mut tx, first, State::Done, &json!({}), at(3)).await;
            assert!(matches!(again, Err(StoreError::Missing(_))));
            tx.commit().await.unwrap();
            let kept = get(&store, first).await.unwrap().unwrap();
            assert_eq!((kept.state, kept.done_at), (State::Refused, Some(at(2))));
            assert_eq!(waiting(&store, 10).await.unwrap().len(), 1);
            let mut tx = store.begin().await.unwrap();
            assert_eq!(prune(&mut tx, at(3)).await.unwrap(), 1);
        })
        .await;
    }
}
