//! Invites that a document declares: made once, taken back when the document says so.
//!
//! Must not know: who wrote the document.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;

use super::super::{Arg, StoreError, Tx};
use super::cohorts::{address_rules, lock_cohort};
use super::hashed::find_hashed_in;
use super::making::{InviteError, NewInvite, create};
use super::revoking::{Revocation, revoke};
use super::{DOCUMENT_GONE, Origin, State};
use crate::args;
use crate::core::cohort::normalise;
use crate::core::resources::InviteSpec;
use crate::keys::Keys;

/// Looked for at once.
const AT_ONCE: usize = 500;

/// The names of declared invites that are there, with nothing to be done about them: a program may declare thousands, of which one changes.
///
/// # Errors
/// The database's.
pub async fn declared_before<'a>(
    tx: &mut Tx,
    program: &str,
    declared: impl IntoIterator<Item = (&'a str, &'a InviteSpec)>,
) -> Result<BTreeSet<&'a str>, StoreError> {
    let rules = address_rules(tx, program).await?;
    let person = |(name, spec): (&'a str, &'a InviteSpec)| {
        let email = normalise(&spec.email, *rules.get(&spec.cohort)?).ok()?;
        spec.revoked.is_none().then(|| ((email, spec.cohort.clone()), name))
    };
    // Two documents about one person are rare: the second is looked at by itself.
    let people: Vec<_> = declared.into_iter().filter_map(person).collect();
    let mut found = BTreeSet::new();
    for people in people.chunks(AT_ONCE) {
        let names: HashMap<&(String, String), &'a str> = people.iter().map(|(person, name)| (person, *name)).collect();
        let mut bound = vec![Arg::from(program), Arg::from(State::Revoked.as_str()), Arg::from(DOCUMENT_GONE)];
        let mut values = Vec::new();
        for (email, cohort) in names.keys() {
            values.push(format!("(${}, ${})", bound.len() + 1, bound.len() + 2));
            bound.extend([Arg::from(email), Arg::from(cohort)]);
        }
        let sql = format!(
            "SELECT email_norm, cohort FROM beta_invites WHERE program = $1 AND (state <> $2 OR coalesce(revoke_reason, '') <> $3)
             AND (email_norm, cohort) IN (VALUES {})",
            values.join(", ")
        );
        for row in tx.all(&sql, &bound).await? {
            found.extend(names.get(&(row.get("email_norm")?, row.get("cohort")?)).copied());
        }
    }
    Ok(found)
}

/// Makes a declared invite so. One that exists, has run out or was used is left as it is: sending again is a person's word.
///
/// # Errors
/// [`InviteError::Address`], [`InviteError::Erased`], or the database's.
pub async fn declare(
    tx: &mut Tx,
    keys: &Keys,
    program: &str,
    name: &str,
    spec: &InviteSpec,
    now: Timestamp,
) -> Result<(), InviteError> {
    let actor = format!("Invite/{name}");
    let state = lock_cohort(tx, program, &spec.cohort).await?;
    let email_norm = normalise(&spec.email, state.addresses)?;
    find_hashed_in(tx, keys, &state, &spec.email).await?;
    // One that went with its document, or its cohort's, comes back with it.
    let sql =
        "SELECT id, state, revoke_reason FROM beta_invites WHERE program = $1 AND cohort = $2 AND email_norm = $3";
    let found = match tx.opt(sql, args![program, &spec.cohort, &email_norm]).await? {
        Some(row) => {
            let why: Option<String> = row.get("revoke_reason")?;
            let went = row.get::<String>("state")? == State::Revoked.as_str() && why.as_deref() == Some(DOCUMENT_GONE);
            (!went || spec.revoked.is_some()).then(|| row.get("id")).transpose()?
        }
        None => None,
    };
    let id = match (found, &spec.revoked) {
        (Some(id), _) => id,
        (None, None) => {
            let text = |field: &Option<String>| field.clone().unwrap_or_default();
            let (label, role, locale, note) =
                (text(&spec.label), text(&spec.role), text(&spec.locale), text(&spec.note));
            let new = NewInvite {
                program,
                cohort: &spec.cohort,
                email: &spec.email,
                label: &label,
                role: &role,
                invited_by: &actor,
                locale: &locale,
                note: &note,
                source: Origin::Resource,
            };
            create(tx, keys, &new, &actor, now).await?.invite().id
        }
        // Nothing was ever sent, so there is nothing to take back.
        (None, Some(_)) => return Ok(()),
    };
    if let Some(revoked) = &spec.revoked {
        let how = Revocation { reason: &revoked.reason, end_membership: true, actor: &actor };
        revoke(tx, id, how, now).await?;
    }
    Ok(())
}
