//! What fulfilling a request does, in the transaction that closes it: the copy of a person's data is made, or the person is erased.
//!
//! Must not know: who may decide, how a copy reaches the person.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{PrivacyError, Request, RequestKind, RequestState, close, find, record};
use crate::args;
use crate::keys::Keys;
use crate::store::{Store, StoreError, Tx, events, invites, people};

/// For so long after it was made a copy can be fetched; then it goes, so that nobody's data lies twice for longer than it must.
pub const KEPT_FOR: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Why an address is remembered as erased. Not by which request: that would lead from the address to the person's id.
const ASKED: &str = "asked";

/// Does what was asked for. A copy of the data stands in the request's `result`, for the person to fetch. An erasure takes the person out of
/// everything, other requests of theirs included, and its `result` says how much that was.
///
/// # Errors
/// [`PrivacyError::WrongState`] unless it is triaged.
pub async fn fulfil(tx: &mut Tx, keys: &Keys, id: Uuid, by: &str, now: Timestamp) -> Result<Request, PrivacyError> {
    let sql = "UPDATE privacy_requests SET state = 'fulfilled', closed_at = $2, closed_by = $3
               WHERE id = $1 AND state = 'triaged'";
    let request = close(tx, id, sql, args![id, now, by], RequestState::Fulfilled).await?;
    let (result, told) = match request.kind {
        RequestKind::Erase => {
            let erased = erase(tx, keys, &request, by, now).await?;
            (erased.clone(), erased)
        }
        RequestKind::Export => (copy(tx, keys, &request).await?, json!({})),
    };
    tx.execute("UPDATE privacy_requests SET result = $2 WHERE id = $1", args![id, result]).await?;
    record(tx, &request, by, "privacy.fulfilled", told, now).await?;
    find(tx, id).await
}

async fn erase(tx: &mut Tx, keys: &Keys, request: &Request, by: &str, now: Timestamp) -> Result<Value, StoreError> {
    let (mut account, mut of_person) = (false, 0);
    if let Some(user_id) = request.user_id {
        account = people::erase(tx, keys, user_id, ASKED, by, now).await?;
        of_person = events::erase_person(tx, user_id).await?;
        let blank = "UPDATE privacy_requests SET contact = NULL, note = '', result = NULL WHERE user_id = $1";
        tx.execute(blank, args![user_id]).await?;
    }
    if let Some(contact) = &request.contact {
        people::erase_address(tx, keys, contact, ASKED, by, now).await?;
        let blank = "UPDATE privacy_requests SET contact = NULL, note = '', result = NULL WHERE contact = $1";
        tx.execute(blank, args![contact]).await?;
    }
    Ok(json!({ "account": account, "events": of_person }))
}

/// Everything that is kept of a person: account, cohorts, invites, places on rosters, events, requests. Who invited them is another person's
/// name, and is left out.
async fn copy(tx: &mut Tx, keys: &Keys, request: &Request) -> Result<Value, StoreError> {
    let mut addresses: Vec<String> = request.contact.iter().cloned().collect();
    let mut body = json!({ "account": null, "memberships": [], "staff": [], "events": [], "requests": [] });
    if let Some(user_id) = request.user_id {
        addresses.extend(people::addresses(tx, user_id).await?);
        let account = "SELECT email, created_at FROM users WHERE id = $1 AND erased_at IS NULL";
        if let Some(row) = tx.opt(account, args![user_id]).await? {
            let (email, since): (String, Timestamp) = (row.get("email")?, row.get("created_at")?);
            body["account"] = json!({ "id": user_id, "email": email, "createdAt": since });
        }
        body["memberships"] = memberships(tx, user_id).await?.into();
        body["staff"] = roster(tx, user_id).await?.into();
        body["events"] = events::of_person(tx, user_id).await?.into();
        body["requests"] = requests(tx, user_id).await?.into();
    }
    let invites = invites::of_person(tx, keys, &addresses, request.user_id).await?;
    body["invites"] = invites.iter().map(told).collect();
    Ok(body)
}

fn told(invite: &invites::Invite) -> Value {
    json!({
        "id": invite.id, "program": invite.program, "cohort": invite.cohort, "email": invite.email, "label": invite.label,
        "role": invite.role, "locale": invite.locale, "note": invite.note, "state": invite.state.as_str(),
        "createdAt": invite.created_at, "sentAt": invite.sent_at, "openedAt": invite.opened_at, "usedAt": invite.used_at,
        "expiresAt": invite.expires_at, "revokedAt": invite.revoked_at, "revokeReason": invite.revoke_reason,
    })
}

async fn memberships(tx: &mut Tx, user_id: Uuid) -> Result<Vec<Value>, StoreError> {
    let sql = "SELECT program, cohort, joined_at FROM cohort_members WHERE user_id = $1 ORDER BY program, cohort";
    let rows = tx.all(sql, args![user_id]).await?;
    rows.iter()
        .map(|row| {
            let (program, cohort): (String, String) = (row.get("program")?, row.get("cohort")?);
            Ok(json!({ "program": program, "cohort": cohort, "joinedAt": row.get::<Timestamp>("joined_at")? }))
        })
        .collect()
}

async fn roster(tx: &mut Tx, user_id: Uuid) -> Result<Vec<Value>, StoreError> {
    let sql = "SELECT program, gym_id, since_day, until_day FROM gym_staff WHERE user_id = $1 ORDER BY program, gym_id";
    let rows = tx.all(sql, args![user_id]).await?;
    rows.iter()
        .map(|row| {
            let (program, gym): (String, String) = (row.get("program")?, row.get("gym_id")?);
            let (since, until): (i64, Option<i64>) = (row.get("since_day")?, row.get("until_day")?);
            Ok(json!({ "program": program, "gymId": gym, "since": events::date_of(since), "until": until.and_then(events::date_of) }))
        })
        .collect()
}

async fn requests(tx: &mut Tx, user_id: Uuid) -> Result<Vec<Value>, StoreError> {
    let sql =
        "SELECT id, kind, state, note, submitted_at, closed_at FROM privacy_requests WHERE user_id = $1 ORDER BY id";
    let rows = tx.all(sql, args![user_id]).await?;
    rows.iter()
        .map(|row| {
            let (kind, state, note): (String, String, String) = (row.get("kind")?, row.get("state")?, row.get("note")?);
            let (came, closed): (Timestamp, Option<Timestamp>) = (row.get("submitted_at")?, row.get("closed_at")?);
            Ok(json!({ "id": row.get::<Uuid>("id")?, "kind": kind, "state": state, "note": note, "submittedAt": came, "closedAt": closed }))
        })
        .collect()
}

/// Lets copies go that were made before `before`; says how many.
pub async fn forget_copies(store: &Store, before: Timestamp) -> Result<u64, StoreError> {
    let sql =
        "UPDATE privacy_requests SET result = NULL WHERE kind = 'export' AND result IS NOT NULL AND closed_at < $1";
    store.execute(sql, args![before]).await
}
