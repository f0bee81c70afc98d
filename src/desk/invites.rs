//! Invites by hand.

use betagate_core::desired::nearest::nearest;
use betagate_core::resources::{Kind, Span, USUAL_EXPIRY};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Desk, DeskError};
use crate::keys::Keys;
use crate::store::invites::{self, Filter, Invite, InviteError, Made, NewInvite, Origin, Revocation, State};
use crate::store::status::{self, LastGood};
use crate::store::{Store, StoreError, Tx};

impl Desk<'_> {
    /// What makes codes.
    pub(super) fn keys_at_hand(&self) -> Result<&Keys, DeskError> {
        self.keys.ok_or_else(|| {
            DeskError::Refused(
                "the keys of this record are not here: name its data folder with --data, or its server".to_owned(),
            )
        })
    }

    pub(super) async fn add_invite(
        &self,
        program: Option<String>,
        cohort: &str,
        email: &str,
        note: &str,
        by: &str,
    ) -> Result<Value, DeskError> {
        let keys = self.keys_at_hand()?;
        let program = self.program(program).await?;
        if invites::cohort_state(self.store, &program, cohort).await?.is_none() {
            self.expect_known(&program, Kind::Cohort, cohort).await?;
            return Err(DeskError::Refused(format!("cohort '{cohort}' of program '{program}' has not opened yet")));
        }
        self.expect_person(&program, by).await?;
        let new = NewInvite {
            program: &program,
            cohort,
            email,
            label: "",
            role: "",
            invited_by: self.voice(by),
            locale: "",
            note,
            source: Origin::Admin,
        };
        // Read before the transaction has a connection: nobody who has one waits for another.
        let until = good_until(self.store, cohort, self.now).await?;
        let mut tx = self.store.begin().await?;
        let made = invites::create(&mut tx, keys, &new, &self.actor(by), self.now).await.map_err(refused)?;
        if let Made::Already(invite) = &made {
            let state = invite.state.as_str();
            return Err(DeskError::Refused(format!("there is an invite for this address already ({state})")));
        }
        let (id, actor) = (made.invite().id, self.actor(by));
        let rendered = invites::hand_over(&mut tx, keys, id, until, &actor, self.now).await?;
        tx.commit().await?;
        let mut body = shown(made.invite());
        if let Some(rendered) = rendered {
            body = shown(&rendered.invite);
            body["code"] = json!(rendered.code.reveal());
        }
        Ok(body)
    }

    pub(super) async fn list_invites(&self, filter: Filter) -> Result<Value, DeskError> {
        Ok(super::with_mail(self.store, &invites::list(self.store, &filter).await?).await?.into())
    }

    /// Sends again one invite, or every one of an address that isn't settled.
    pub(super) async fn resend_invites(
        &self,
        program: Option<String>,
        (id, email): (Option<Uuid>, Option<&str>),
        by: &str,
    ) -> Result<Value, DeskError> {
        let mut found: Vec<Invite> = match (id, email) {
            (Some(id), None) => invites::get(self.store, id).await?.into_iter().collect(),
            (None, Some(email)) => {
                let email = Some(email.to_owned());
                invites::list(self.store, &Filter { program, email, limit: 1000, ..Filter::default() }).await?
            }
            _ => return Err(DeskError::Usage("name an address, or the id of an invite".to_owned())),
        };
        let Some(first) = found.first() else {
            return Err(DeskError::Unknown("there is no such invite".to_owned()));
        };
        self.expect_person(&first.program, by).await?;
        // The order in which everyone locks cohorts.
        found.sort_by(|one, other| (&one.program, &one.cohort).cmp(&(&other.program, &other.cohort)));
        let mut untils = Vec::new();
        for invite in &found {
            untils.push((invite.id, good_until(self.store, &invite.cohort, self.now).await?));
        }
        let (actor, mut resent, mut settled) = (self.actor(by), Vec::new(), None);
        let mut tx = self.store.begin().await?;
        for (id, until) in untils {
            match invites::resend(&mut tx, id, until, &actor, self.now).await {
                Ok(invite) => resent.push(shown(&invite)),
                Err(error @ InviteError::Settled(_)) => settled = Some(error),
                Err(error) => return Err(refused(error)),
            }
        }
        tx.commit().await?;
        match settled {
            Some(error) if resent.is_empty() => Err(refused(error)),
            _ => Ok(json!({ "resent": resent.len(), "invites": resent })),
        }
    }

    pub(super) async fn revoke_cohort(
        &self,
        program: Option<String>,
        cohort: &str,
        reason: &str,
        by: &str,
    ) -> Result<Value, DeskError> {
        let program = self.program(program).await?;
        if invites::cohort_state(self.store, &program, cohort).await?.is_none() {
            self.expect_known(&program, Kind::Cohort, cohort).await?;
        }
        self.expect_person(&program, by).await?;
        let actor = self.actor(by);
        let how = Revocation { reason, end_membership: false, actor: &actor };
        let mut tx = self.store.begin().await?;
        let revoked = invites::revoke_unused(&mut tx, &program, Some(cohort), how, self.now).await?;
        tx.commit().await?;
        Ok(json!({ "revoked": revoked }))
    }

    pub(super) async fn revoke_invites(
        &self,
        program: Option<String>,
        email: &str,
        reason: &str,
        by: &str,
    ) -> Result<Value, DeskError> {
        let actor = self.actor(by);
        let how = Revocation { reason, end_membership: true, actor: &actor };
        let mut tx = self.store.begin().await?;
        // Someone of whom only a keyed hash is known is found by it.
        if let Some(keys) = self.keys {
            invites::find_hashed(&mut tx, keys, email).await?;
        }
        let revoked =
            invites::revoke_address(&mut tx, program.as_deref(), email, how, self.now).await.map_err(refused)?;
        tx.commit().await?;
        if revoked.is_empty() {
            return Err(DeskError::Unknown("there is no invite for this address".to_owned()));
        }
        Ok(json!({ "revoked": revoked.len() }))
    }
}

/// Until when a code that is made now works: what the cohort's document says.
///
/// # Errors
/// The database's.
pub async fn good_until(store: &Store, cohort: &str, now: Timestamp) -> Result<Timestamp, StoreError> {
    Ok(until(status::good(store, Kind::Cohort.name(), cohort).await?.as_ref(), now))
}

/// The same, as a transaction sees it.
///
/// # Errors
/// The database's.
pub async fn good_until_in(tx: &mut Tx, cohort: &str, now: Timestamp) -> Result<Timestamp, StoreError> {
    Ok(until(status::good_in(tx, Kind::Cohort.name(), cohort).await?.as_ref(), now))
}

fn until(cohort: Option<&LastGood>, now: Timestamp) -> Timestamp {
    let said = cohort.and_then(|good| good.body["invites"]["expireAfter"].as_str()?.parse::<Span>().ok());
    said.unwrap_or(USUAL_EXPIRY).after(now)
}

/// The state that a word names.
///
/// # Errors
/// [`DeskError::Usage`] with the nearest name.
pub fn state(word: &str) -> Result<State, DeskError> {
    let known = State::ALL.map(State::as_str);
    State::ALL.into_iter().find(|state| state.as_str() == word).ok_or_else(|| {
        let hint = nearest(word, known)
            .map_or_else(|| format!("there are {}", known.join(", ")), |near| format!("did you mean {near}?"));
        DeskError::Usage(format!("no invite is ever '{word}'; {hint}"))
    })
}

pub(super) fn refused(error: InviteError) -> DeskError {
    match error {
        InviteError::Store(error) => error.into(),
        InviteError::Address(fault) => DeskError::Usage(fault.to_string()),
        other => DeskError::Refused(other.to_string()),
    }
}

/// An invite, without its code.
pub fn shown(invite: &Invite) -> Value {
    json!({
        "id": invite.id, "program": invite.program, "cohort": invite.cohort, "email": invite.email, "label": invite.label,
        "state": invite.state.as_str(), "generation": invite.generation, "note": invite.note, "invitedBy": invite.invited_by, "createdAt": invite.created_at, "sentAt": invite.sent_at,
        "usedAt": invite.used_at, "expiresAt": invite.expires_at, "revokedAt": invite.revoked_at,
    })
}
