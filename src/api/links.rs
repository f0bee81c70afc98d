//! New links for those who ask, in the background: the answer to asking never waits for what becomes of it, so it tells nobody anything.
//!
//! Must not know: HTTP, mail. A link is an invite sent again; the sender finds that it is due. Nobody has shown
//! that the address is theirs: what they can do by asking is to have a message sent to it.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::desk::{good_until, good_until_in};
use crate::keys::Keys;
use crate::store::invites::{self, Filter, Invite, InviteError, State};
use crate::store::{Store, StoreError};

/// How many may wait; more are forgotten, and ask again.
const MOST_WAITING: usize = 1024;
/// Who asked, for the record: nobody has shown that the address is theirs.
const ACTOR: &str = "someone with the address (unverified)";

/// Where one asks. Cheap to clone.
#[derive(Clone)]
pub struct Links(mpsc::Sender<String>);

impl Links {
    /// Starts to see to those who ask, one after the other, until `ending`; then to those who still wait.
    pub fn start(
        store: Store,
        keys: Arc<Keys>,
        clock: Clock,
        mut ending: watch::Receiver<bool>,
    ) -> (Self, JoinHandle<()>) {
        let (asked, mut waiting) = mpsc::channel::<String>(MOST_WAITING);
        let seeing_to_them = tokio::spawn(async move {
            let mut stays = true;
            loop {
                let email = tokio::select! {
                    biased;
                    email = waiting.recv() => email,
                    ended = ending.wait_for(|ending| *ending), if stays => {
                        drop(ended);
                        stays = false;
                        waiting.close();
                        continue;
                    }
                };
                let Some(email) = email else { return };
                if let Err(error) = send_again(&store, &keys, &email, clock.now()).await {
                    tracing::warn!(error = %error, "a new link that was asked for could not be made");
                }
            }
        });
        (Self(asked), seeing_to_them)
    }

    /// Asks for a new link for an address.
    pub fn ask(&self, email: &str) {
        if self.0.try_send(email.to_owned()).is_err() {
            tracing::warn!("too many ask for a new link at once; one was forgotten");
        }
    }
}

/// Sends again every invite of an address that can let it in or ran out: with the code that works, while one does. One that waits for a place, was used or taken back stays as it is; so
/// does one that has not been sent yet, which is on its way.
async fn send_again(store: &Store, keys: &Keys, email: &str, now: Timestamp) -> Result<(), StoreError> {
    // Someone whom a list knows by a keyed hash only is sent a first message, now that the address is known.
    let mut tx = store.begin().await?;
    let hashed = invites::find_hashed(&mut tx, keys, email).await?;
    for id in &hashed {
        // Through the transaction: nobody who has a connection waits for another.
        let cohort = invites::cohort_of(&mut tx, *id).await?.unwrap_or_default();
        let until = good_until_in(&mut tx, &cohort, now).await?;
        settled(invites::resend(&mut tx, *id, until, ACTOR, now).await)?;
    }
    tx.commit().await?;
    let filter = Filter { email: Some(email.to_owned()), limit: 1000, ..Filter::default() };
    let mut found: Vec<Invite> = invites::list(store, &filter).await?.into_iter().filter(was_sent).collect();
    // The order in which everyone locks cohorts.
    found.sort_by(|one, other| (&one.program, &one.cohort).cmp(&(&other.program, &other.cohort)));
    for invite in found.iter().filter(|invite| !hashed.contains(&invite.id)) {
        let until = good_until(store, &invite.cohort, now).await?;
        let mut tx = store.begin().await?;
        settled(invites::send_once_more(&mut tx, invite.id, until, ACTOR, now).await)?;
        tx.commit().await?;
    }
    Ok(())
}

fn settled(sent: Result<Invite, InviteError>) -> Result<(), StoreError> {
    match sent {
        // Used, taken back or erased meanwhile.
        Ok(_) | Err(InviteError::Settled(_) | InviteError::Missing) => Ok(()),
        Err(InviteError::Store(error)) => Err(error),
        Err(other) => {
            tracing::warn!(error = %other, "an invite could not be sent again");
            Ok(())
        }
    }
}

fn was_sent(invite: &Invite) -> bool {
    match invite.state {
        State::Sent | State::Opened | State::Expired => true,
        State::Pending => invite.rendered_at.is_some(),
        State::Waiting | State::Used | State::Revoked => false,
    }
}
