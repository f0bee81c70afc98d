//! Invites by hand.

use jiff::SignedDuration;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Desk, DeskError};
use crate::store::invites::{self, Filter, Invite, InviteError, NewInvite, Origin, Revocation};

/// How long a code that was handed over by a person works.
const GOOD_FOR: SignedDuration = SignedDuration::from_hours(14 * 24);

impl Desk<'_> {
    pub(super) async fn add_invite(
        &self,
        program: Option<String>,
        cohort: &str,
        email: &str,
        note: &str,
        by: &str,
    ) -> Result<Value, DeskError> {
        let keys = self.keys.ok_or_else(|| {
            DeskError::Refused(
                "the keys of this record are not here: name its data folder with --data, or its server".to_owned(),
            )
        })?;
        let program = self.program(program).await?;
        if invites::cohort_state(self.store, &program, cohort).await?.is_none() {
            self.expect_known(&program, betagate_core::resources::Kind::Cohort, cohort).await?;
            return Err(DeskError::Refused(format!("cohort '{cohort}' of program '{program}' has not opened yet")));
        }
        self.expect_person(&program, by).await?;
        let new = NewInvite {
            program: &program,
            cohort,
            email,
            label: "",
            role: "",
            invited_by: by,
            locale: "",
            note,
            source: Origin::Admin,
        };
        let mut tx = self.store.begin().await?;
        let made = invites::create(&mut tx, keys, &new, &self.actor(by), self.now).await.map_err(refused)?;
        let until = self.now.checked_add(GOOD_FOR).unwrap_or(self.now);
        let rendered = invites::render(&mut tx, keys, made.invite().id, until, self.now).await?;
        tx.commit().await?;
        let mut body = shown(made.invite());
        if let Some(rendered) = rendered {
            body = shown(&rendered.invite);
            body["code"] = json!(rendered.code.reveal());
        }
        Ok(body)
    }

    pub(super) async fn list_invites(
        &self,
        cohort: Option<String>,
        active_only: bool,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Value, DeskError> {
        let filter = Filter { cohort, active_only, after, limit: limit.clamp(1, 1000), ..Filter::default() };
        Ok(invites::list(self.store, &filter).await?.iter().map(shown).collect())
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
        let revoked =
            invites::revoke_address(&mut tx, program.as_deref(), email, how, self.now).await.map_err(refused)?;
        tx.commit().await?;
        if revoked.is_empty() {
            return Err(DeskError::Unknown("there is no invite for this address".to_owned()));
        }
        Ok(json!({ "revoked": revoked.len() }))
    }
}

fn refused(error: InviteError) -> DeskError {
    match error {
        InviteError::Store(error) => error.into(),
        other => DeskError::Refused(other.to_string()),
    }
}

/// An invite, without its code.
pub fn shown(invite: &Invite) -> Value {
    json!({
        "id": invite.id, "program": invite.program, "cohort": invite.cohort, "email": invite.email, "state": invite.state.as_str(),
        "note": invite.note, "invitedBy": invite.invited_by, "createdAt": invite.created_at, "sentAt": invite.sent_at,
        "usedAt": invite.used_at, "expiresAt": invite.expires_at, "revokedAt": invite.revoked_at,
    })
}
