//! Who is in which cohort, for the index that API processes keep in memory.
//!
//! Must not know: flags.

use super::{Store, StoreError};
use crate::args;

/// Rows read at once.
const PAGE: i64 = 20_000;

/// A number that changes whenever someone joins or leaves: how many members there are, and when the last one joined.
///
/// # Errors
/// The database's.
pub async fn stamp(store: &Store) -> Result<(i64, i64), StoreError> {
    let row = store
        .one(
            "SELECT count(*) AS n, count(DISTINCT user_id) AS people, max(joined_at) AS last FROM cohort_members",
            args![],
        )
        .await?;
    let last: Option<jiff::Timestamp> = row.get("last")?;
    Ok((row.get("n")?, last.map_or(0, jiff::Timestamp::as_microsecond)))
}

/// Calls `each` with user id, normalised address, program and cohort of every member.
///
/// # Errors
/// The database's.
pub async fn each(store: &Store, mut each: impl FnMut(&str, &str, &str, &str)) -> Result<(), StoreError> {
    let sql = "SELECT program, cohort, user_id, email_norm FROM cohort_members
        WHERE (program, cohort, user_id) > ($1, $2, $3) ORDER BY program, cohort, user_id LIMIT $4";
    let (mut program, mut cohort, mut last) = (String::new(), String::new(), uuid::Uuid::nil());
    loop {
        let rows = store.all(sql, args![&program, &cohort, last, PAGE]).await?;
        for row in &rows {
            (program, cohort, last) = (row.get("program")?, row.get("cohort")?, row.get("user_id")?);
            let address: String = row.get("email_norm")?;
            each(&last.to_string(), &address, &program, &cohort);
        }
        if rows.len() < usize::try_from(PAGE).unwrap_or(usize::MAX) {
            return Ok(());
        }
    }
}
