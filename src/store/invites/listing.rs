//! Invites by filter and page, for people who look after them.
//!
//! Must not know: who asks, how a page is shown.

use uuid::Uuid;

use super::super::{Arg, Store, StoreError};
use super::making::spellings;
use super::{COLUMNS, Invite, State, invite};
use crate::args;
use crate::core::cohort::InviteCode;

/// Which invites to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of one program.
    pub program: Option<String>,
    /// Of one cohort.
    pub cohort: Option<String>,
    /// In one state.
    pub state: Option<State>,
    /// Only those that can still let somebody in (seed 000: `active_only`).
    pub active_only: bool,
    /// Of one address, compared by each cohort's own rules.
    pub email: Option<String>,
    /// With this label.
    pub label: Option<String>,
    /// Those after this one: the last id of the page before.
    pub after: Option<Uuid>,
    /// At most so many; 1 to 1000.
    pub limit: i64,
}

/// Lists invites, oldest first, page by page.
pub async fn list(store: &Store, filter: &Filter) -> Result<Vec<Invite>, StoreError> {
    let mut sql = format!("SELECT {COLUMNS} FROM beta_invites WHERE id > $1");
    let mut bound = vec![Arg::from(filter.after.unwrap_or(Uuid::nil()))];
    let state = filter.state.map(State::as_str).map(str::to_owned);
    let conditions =
        [("program", &filter.program), ("cohort", &filter.cohort), ("state", &state), ("label", &filter.label)];
    for (column, value) in conditions {
        if let Some(value) = value {
            bound.push(value.into());
            sql.push_str(&format!(" AND {column} = ${}", bound.len()));
        }
    }
    if let Some(email) = &filter.email {
        // What is no address has no invite.
        let Ok(spellings) = spellings(email) else { return Ok(Vec::new()) };
        let mut any = Vec::new();
        for (rules, email_norm) in spellings {
            let first = bound.len() + 1;
            bound.extend([email_norm.into(), rules.ignore_dots.into(), rules.ignore_plus.into()]);
            any.push(format!(
                "(email_norm = ${first} AND (program, cohort) IN (SELECT program, cohort FROM cohort_state
                    WHERE ignore_dots = ${} AND ignore_plus = ${}))",
                first + 1,
                first + 2
            ));
        }
        sql.push_str(&format!(" AND ({})", any.join(" OR ")));
    }
    if filter.active_only {
        sql.push_str(" AND state IN ('waiting', 'pending', 'sent', 'opened')");
    }
    bound.push(filter.limit.clamp(1, 1000).into());
    sql.push_str(&format!(" ORDER BY id LIMIT ${}", bound.len()));
    store.all(&sql, &bound).await?.iter().map(invite).collect()
}

/// The language that a code's invite names; `None` when there is none, or it names none.
pub async fn locale_of(store: &Store, code: &str) -> Result<Option<String>, StoreError> {
    let Some(code) = InviteCode::parse(code) else { return Ok(None) };
    let sql = "SELECT locale FROM beta_invites WHERE code_digest = $1 AND locale <> ''";
    store.opt(sql, args![code.digest()]).await?.map(|row| row.get("locale")).transpose()
}
