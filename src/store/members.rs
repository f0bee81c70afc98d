//! Who is in which cohort, for the index that API processes keep in memory: all of it once, then what changed.
//!
//! Must not know: flags.

use uuid::Uuid;

use super::{Row, Store, StoreError};
use crate::args;

/// Rows read at once.
const PAGE: i64 = 20_000;
/// How many changes are kept; a process that is further behind reads all members anew.
const KEPT: i64 = 100_000;

/// A member of a cohort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The user's id.
    pub user: Uuid,
    /// Their normalised address.
    pub address: String,
    /// The cohort's program.
    pub program: String,
    /// The cohort.
    pub cohort: String,
}

/// Someone joined or left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// They are in since.
    Joined(Member),
    /// They are out since.
    Left(Member),
}

/// How far the changes were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Changes of this transaction and later ones may not have been seen (on SQLite: of this number).
    horizon: i64,
    /// The highest number seen.
    last: i64,
}

/// What happened since a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// These changes, in order; some may have been given before, and doing them again in this order does no harm.
    Changes(Vec<Change>, Position),
    /// It can't be told: read all members anew.
    Lost,
}

/// Where the changes stand now. Take it before [`each`]: what changes meanwhile is told again afterwards.
///
/// # Errors
/// The database's.
pub async fn position(store: &Store) -> Result<Position, StoreError> {
    // Everything below the horizon has ended, whichever way: what is committed of it is seen by any later statement.
    let sql = store.dialect().pick(
        "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS horizon,
            coalesce(max(seq), 0) AS last FROM member_changes",
        "SELECT coalesce(max(seq), 0) + 1 AS horizon, coalesce(max(seq), 0) AS last FROM member_changes",
    );
    let row = store.one(sql, args![]).await?;
    Ok(Position { horizon: row.get("horizon")?, last: row.get("last")? })
}

/// What happened since `from`.
///
/// # Errors
/// The database's.
pub async fn since(store: &Store, from: Position) -> Result<Since, StoreError> {
    let now = position(store).await?;
    // A number lower than before is another database (a restored one). Who is far behind may find rows forgotten.
    if now.last < from.last || now.horizon < from.horizon || now.last - from.last > KEPT / 2 {
        return Ok(Since::Lost);
    }
    let sql = store.dialect().pick(
        "SELECT c.what, c.program, c.cohort, c.user_id, u.email_norm FROM member_changes c JOIN users u ON u.id = c.user_id
            WHERE c.tx >= $1 ORDER BY c.seq",
        "SELECT c.what, c.program, c.cohort, c.user_id, u.email_norm FROM member_changes c JOIN users u ON u.id = c.user_id
            WHERE c.seq >= $1 ORDER BY c.seq",
    );
    let mut changes = Vec::new();
    for row in store.all(sql, args![from.horizon]).await? {
        match row.get::<String>("what")?.as_str() {
            "join" => changes.push(Change::Joined(member(&row)?)),
            "leave" => changes.push(Change::Left(member(&row)?)),
            _ => return Ok(Since::Lost),
        }
    }
    Ok(Since::Changes(changes, now))
}

/// Calls `each` with every member.
///
/// # Errors
/// The database's.
pub async fn each(store: &Store, mut each: impl FnMut(&Member)) -> Result<(), StoreError> {
    let sql = "SELECT program, cohort, user_id, email_norm FROM cohort_members
        WHERE (program, cohort, user_id) > ($1, $2, $3) ORDER BY program, cohort, user_id LIMIT $4";
    let mut last = Member { user: Uuid::nil(), address: String::new(), program: String::new(), cohort: String::new() };
    loop {
        let rows = store.all(sql, args![&last.program, &last.cohort, last.user, PAGE]).await?;
        for row in &rows {
            last = member(row)?;
            each(&last);
        }
        if rows.len() < usize::try_from(PAGE).unwrap_or(usize::MAX) {
            return Ok(());
        }
    }
}

/// Forgets old changes; says how many.
///
/// # Errors
/// The database's.
pub async fn forget_old_changes(store: &Store) -> Result<u64, StoreError> {
    let sql = "DELETE FROM member_changes WHERE seq <= (SELECT max(seq) FROM member_changes) - $1";
    store.execute(sql, args![KEPT]).await
}

fn member(row: &Row) -> Result<Member, StoreError> {
    Ok(Member {
        user: row.get("user_id")?,
        address: row.get("email_norm")?,
        program: row.get("program")?,
        cohort: row.get("cohort")?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::testing::on_each;
    use super::*;

    async fn join(tx: &mut super::super::Tx, user: Uuid) {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let address = format!("{user}@example.com");
        let insert = "INSERT INTO users (id, email, email_norm, password_hash, is_admin, created_at) VALUES ($1, $2, $2, '', $3, $4)";
        tx.execute(insert, args![user, &address, false, now]).await.unwrap();
        let insert = "INSERT INTO cohort_members (program, cohort, user_id, email_norm, joined_at) VALUES ('p', 'c', $1, $2, $3)";
        tx.execute(insert, args![user, &address, now]).await.unwrap();
    }

    fn people(since: Since) -> (Vec<(bool, Uuid)>, Position) {
        let Since::Changes(changes, position) = since else { panic!("lost") };
        let brief = |change| match change {
            Change::Joined(member) => (true, Member::user(&member)),
            Change::Left(member) => (false, member.user),
        };
        (changes.into_iter().map(brief).collect(), position)
    }

    impl Member {
        fn user(&self) -> Uuid {
            self.user
        }
    }

    #[tokio::test]
    async fn whoever_joins_or_leaves_is_told_in_order() {
        on_each(async |store| {
            let begun = position(&store).await.unwrap();
            let (ada, bob) = (Uuid::now_v7(), Uuid::now_v7());
            let mut tx = store.begin().await.unwrap();
            join(&mut tx, ada).await;
            join(&mut tx, bob).await;
            tx.commit().await.unwrap();
            let (told, then) = people(since(&store, begun).await.unwrap());
            assert_eq!(told, [(true, ada), (true, bob)]);
            store.execute("DELETE FROM cohort_members WHERE user_id = $1", args![bob]).await.unwrap();
            let (told, then) = people(since(&store, then).await.unwrap());
            assert_eq!(told.last(), Some(&(false, bob)));
            let (told, _) = people(since(&store, then).await.unwrap());
            assert!(told.is_empty() || store.dialect() == super::super::Dialect::Postgres, "{told:?}");
        })
        .await;
    }

    #[tokio::test]
    async fn a_change_that_commits_after_a_later_one_is_not_missed() {
        on_each(async |store| {
            if store.dialect() == super::super::Dialect::Sqlite {
                return;
            }
            let begun = position(&store).await.unwrap();
            let (slow, quick) = (Uuid::now_v7(), Uuid::now_v7());
            let mut first = store.begin().await.unwrap();
            join(&mut first, slow).await;
            let mut second = store.begin().await.unwrap();
            join(&mut second, quick).await;
            second.commit().await.unwrap();
            let (told, then) = people(since(&store, begun).await.unwrap());
            assert_eq!(told, [(true, quick)]);
            first.commit().await.unwrap();
            let (told, _) = people(since(&store, then).await.unwrap());
            assert!(told.contains(&(true, slow)), "{told:?}");
        })
        .await;
    }

    #[tokio::test]
    async fn a_blanked_address_or_a_hole_means_to_read_all_anew() {
        on_each(async |store| {
            let begun = position(&store).await.unwrap();
            let ada = Uuid::now_v7();
            let mut tx = store.begin().await.unwrap();
            join(&mut tx, ada).await;
            tx.commit().await.unwrap();
            let (_, then) = people(since(&store, begun).await.unwrap());
            store.execute("UPDATE cohort_members SET email_norm = 'erased'", args![]).await.unwrap();
            assert_eq!(since(&store, then).await.unwrap(), Since::Lost);
            let here = position(&store).await.unwrap();
            store
                .execute(
                    "UPDATE member_changes SET seq = seq + 200000 WHERE seq = (SELECT max(seq) FROM member_changes)",
                    args![],
                )
                .await
                .unwrap();
            assert_eq!(since(&store, here).await.unwrap(), Since::Lost);
        })
        .await;
    }
}
