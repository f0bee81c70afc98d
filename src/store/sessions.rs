//! Sessions: opaque tokens of which only digests are kept, exchanged at every refresh.
//!
//! Must not know: cookies, headers, passwords.

use data_encoding::BASE64URL_NOPAD;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{Store, StoreError, Tx, people};
use crate::args;

/// How long tokens are good for.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// The token that requests carry.
    pub access: SignedDuration,
    /// The token that is exchanged for new ones; counts anew at each exchange.
    pub refresh: SignedDuration,
}

impl Default for Lifetimes {
    /// Fifteen minutes and thirty days.
    fn default() -> Self {
        Self { access: SignedDuration::from_mins(15), refresh: SignedDuration::from_hours(30 * 24) }
    }
}

/// What a client is given, once.
#[derive(Debug)]
pub struct Tokens {
    /// The session.
    pub session_id: Uuid,
    /// Whose it is.
    pub user_id: Uuid,
    /// For requests.
    pub access: SecretString,
    /// For [`refresh`].
    pub refresh: SecretString,
    /// Until when `access` is good.
    pub access_expires_at: Timestamp,
    /// Until when `refresh` is good.
    pub refresh_expires_at: Timestamp,
}

/// Who a request comes from.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The session.
    pub session_id: Uuid,
    /// The person.
    pub user: people::User,
}

/// Why a refresh token is not exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Never given out, or the session is long gone.
    #[error("unknown refresh token")]
    Unknown,
    /// Too old.
    #[error("the session has run out; sign in again")]
    Expired,
    /// The session was ended.
    #[error("the session was ended; sign in again")]
    Ended,
    /// It was exchanged before: somebody has a copy. The session has been ended.
    #[error("the refresh token was used before; the session has been ended")]
    Reused,
}

struct Fresh {
    access: String,
    refresh: String,
    access_expires_at: Timestamp,
    refresh_expires_at: Timestamp,
}

impl Fresh {
    fn new(lifetimes: Lifetimes, now: Timestamp) -> Self {
        let token = || BASE64URL_NOPAD.encode(&rand::random::<[u8; 32]>());
        let after = |length| now.checked_add(length).unwrap_or(Timestamp::MAX);
        Self {
            access: token(),
            refresh: token(),
            access_expires_at: after(lifetimes.access),
            refresh_expires_at: after(lifetimes.refresh),
        }
    }

    fn given(self, session_id: Uuid, user_id: Uuid) -> Tokens {
        Tokens {
            session_id,
            user_id,
            access: self.access.into(),
            refresh: self.refresh.into(),
            access_expires_at: self.access_expires_at,
            refresh_expires_at: self.refresh_expires_at,
        }
    }
}

/// Tokens have 256 bits of their own: a plain digest is enough.
fn digest(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

/// Begins a session.
pub async fn start(tx: &mut Tx, user_id: Uuid, lifetimes: Lifetimes, now: Timestamp) -> Result<Tokens, StoreError> {
    let fresh = Fresh::new(lifetimes, now);
    let id = Uuid::now_v7();
    tx.execute(
        "INSERT INTO sessions (id, user_id, access_digest, refresh_digest, created_at, access_expires_at, refresh_expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        args![id, user_id, digest(&fresh.access), digest(&fresh.refresh), now, fresh.access_expires_at, fresh.refresh_expires_at],
    )
    .await?;
    Ok(fresh.given(id, user_id))
}

/// Whose access token this is; `None` when it is unknown, too old or ended.
pub async fn authenticate(store: &Store, access: &str, now: Timestamp) -> Result<Option<Signed>, StoreError> {
    let sql = "SELECT s.id AS session_id, u.id, u.email, u.is_admin, u.created_at FROM sessions s JOIN users u ON u.id = s.user_id
        WHERE s.access_digest = $1 AND s.revoked_at IS NULL AND s.access_expires_at > $2 AND u.erased_at IS NULL";
    let Some(row) = store.opt(sql, args![digest(access), now]).await? else { return Ok(None) };
    let user = people::User {
        id: row.get("id")?,
        email: row.get("email")?,
        is_admin: row.get("is_admin")?,
        created_at: row.get("created_at")?,
        erased_at: None,
    };
    Ok(Some(Signed { session_id: row.get("session_id")?, user }))
}

const SPEND: &str = "INSERT INTO spent_refresh_tokens (digest, session_id, spent_until) VALUES ($1, $2, $3)";

/// Exchanges a refresh token for new tokens. The old ones stop working; an exchanged one that comes back ends the session.
///
/// # Errors
/// The outer error is the database's, the inner one says why the token is refused.
pub async fn refresh(
    store: &Store,
    token: &str,
    lifetimes: Lifetimes,
    now: Timestamp,
) -> Result<Result<Tokens, Refused>, StoreError> {
    let fresh = Fresh::new(lifetimes, now);
    let old = digest(token);
    let mut tx = store.begin().await?;
    let exchanged = tx
        .opt(
            "UPDATE sessions SET access_digest = $2, refresh_digest = $3, access_expires_at = $4, refresh_expires_at = $5
             WHERE refresh_digest = $1 AND revoked_at IS NULL AND refresh_expires_at > $6 RETURNING id, user_id",
            args![
                &old,
                digest(&fresh.access),
                digest(&fresh.refresh),
                fresh.access_expires_at,
                fresh.refresh_expires_at,
                now
            ],
        )
        .await?;
    if let Some(row) = exchanged {
        let id: Uuid = row.get("id")?;
        tx.execute(SPEND, args![&old, id, fresh.refresh_expires_at]).await?;
        let user_id = row.get("user_id")?;
        tx.commit().await?;
        return Ok(Ok(fresh.given(id, user_id)));
    }
    let refused = refusal(&mut tx, &old, now).await?;
    tx.commit().await?;
    Ok(Err(refused))
}

async fn refusal(tx: &mut Tx, old: &[u8], now: Timestamp) -> Result<Refused, StoreError> {
    let spent = tx.opt("SELECT session_id FROM spent_refresh_tokens WHERE digest = $1", args![old]).await?;
    if let Some(row) = spent {
        end(tx, row.get("session_id")?, now).await?;
        return Ok(Refused::Reused);
    }
    let row = tx.opt("SELECT revoked_at FROM sessions WHERE refresh_digest = $1", args![old]).await?;
    Ok(match row.map(|row| row.get::<Option<Timestamp>>("revoked_at")).transpose()? {
        None => Refused::Unknown,
        Some(None) => Refused::Expired,
        Some(Some(_)) => Refused::Ended,
    })
}

/// Ends a session.
pub async fn end(tx: &mut Tx, session_id: Uuid, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE sessions SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
    tx.execute(sql, args![session_id, now]).await?;
    Ok(())
}

/// Ends every session of a person; says how many there were.
pub async fn end_all(tx: &mut Tx, user_id: Uuid, now: Timestamp) -> Result<u64, StoreError> {
    let sql = "UPDATE sessions SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL";
    tx.execute(sql, args![user_id, now]).await
}

/// Forgets sessions that could not be refreshed any more at `before`, and exchanged tokens that would have run out by then anyway.
pub async fn forget(tx: &mut Tx, before: Timestamp) -> Result<u64, StoreError> {
    tx.execute("DELETE FROM spent_refresh_tokens WHERE spent_until < $1", args![before]).await?;
    tx.execute("DELETE FROM sessions WHERE refresh_expires_at < $1", args![before]).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use secrecy::ExposeSecret as _;

    use super::super::testing::on_each;
    use super::*;

    fn noon() -> Timestamp {
        "2026-03-02T12:00:00Z".parse().unwrap()
    }

    async fn signed_in(store: &Store) -> Tokens {
        let mut tx = store.begin().await.unwrap();
        let user = people::create(&mut tx, "Ada@Example.com", "hash", false, noon()).await.unwrap();
        let tokens = start(&mut tx, user.id, Lifetimes::default(), noon()).await.unwrap();
        tx.commit().await.unwrap();
        tokens
    }

    async fn known(store: &Store, token: &SecretString, at: Timestamp) -> bool {
        authenticate(store, token.expose_secret(), at).await.unwrap().is_some()
    }

    async fn exchange(store: &Store, token: &SecretString, at: Timestamp) -> Result<Tokens, Refused> {
        refresh(store, token.expose_secret(), Lifetimes::default(), at).await.unwrap()
    }

    #[tokio::test]
    async fn an_access_token_works_until_it_runs_out() {
        on_each(async |store| {
            let tokens = signed_in(&store).await;
            assert!(known(&store, &tokens.access, noon()).await);
            assert!(!known(&store, &tokens.refresh, noon()).await);
            assert!(!known(&store, &tokens.access, tokens.access_expires_at).await);
            assert!(!format!("{tokens:?}").contains(tokens.access.expose_secret()));
        })
        .await;
    }

    #[tokio::test]
    async fn a_refresh_token_is_exchanged_once_and_its_return_ends_the_session() {
        on_each(async |store| {
            let first = signed_in(&store).await;
            let second = exchange(&store, &first.refresh, noon()).await.unwrap();
            assert!(!known(&store, &first.access, noon()).await && known(&store, &second.access, noon()).await);
            let third = exchange(&store, &second.refresh, noon()).await.unwrap();
            assert_eq!(exchange(&store, &first.refresh, noon()).await.unwrap_err(), Refused::Reused);
            assert!(!known(&store, &third.access, noon()).await);
            assert_eq!(exchange(&store, &third.refresh, noon()).await.unwrap_err(), Refused::Ended);
        })
        .await;
    }

    #[tokio::test]
    async fn an_unknown_or_old_refresh_token_is_refused() {
        on_each(async |store| {
            let tokens = signed_in(&store).await;
            assert_eq!(exchange(&store, &"nothing".into(), noon()).await.unwrap_err(), Refused::Unknown);
            let late = tokens.refresh_expires_at;
            assert_eq!(exchange(&store, &tokens.refresh, late).await.unwrap_err(), Refused::Expired);
            let mut tx = store.begin().await.unwrap();
            assert_eq!(forget(&mut tx, late.checked_add(SignedDuration::from_secs(1)).unwrap()).await.unwrap(), 1);
            tx.commit().await.unwrap();
        })
        .await;
    }

    #[tokio::test]
    async fn a_session_that_goes_on_for_years_remembers_no_token_that_ran_out_long_ago() {
        on_each(async |store| {
            let mut tokens = signed_in(&store).await;
            let mut at = noon();
            for _ in 0..40 {
                at = at.checked_add(SignedDuration::from_hours(7 * 24)).unwrap();
                tokens = exchange(&store, &tokens.refresh, at).await.unwrap();
                let mut tx = store.begin().await.unwrap();
                assert_eq!(forget(&mut tx, at).await.unwrap(), 0);
                tx.commit().await.unwrap();
            }
            let kept = store.all("SELECT digest FROM spent_refresh_tokens", args![]).await.unwrap().len();
            assert!((1..=6).contains(&kept), "{kept}");
        })
        .await;
    }

    #[tokio::test]
    async fn of_many_exchanges_at_once_one_succeeds() {
        on_each(async |store| {
            let tokens = signed_in(&store).await;
            let token = tokens.refresh.expose_secret().to_owned();
            let tries = (0..20).map(|_| {
                let (store, token) = (store.clone(), token.clone());
                tokio::spawn(
                    async move { refresh(&store, &token, Lifetimes::default(), noon()).await.unwrap().is_ok() },
                )
            });
            let done = futures_util::future::join_all(tries).await;
            assert_eq!(done.into_iter().filter(|one| *one.as_ref().unwrap()).count(), 1);
        })
        .await;
    }
}
