//! Who works at which gym, from which day until which: the "total staff" of seed 002, section 2.
//!
//! Must not know: what staff did.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::args;
use crate::store::{Store, StoreError, Tx};

/// One place on a gym's roster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staff {
    /// The gym.
    pub gym_id: String,
    /// The member of staff.
    pub user_id: Uuid,
    /// The cohort the gym belongs to; empty: all of them.
    #[serde(default)]
    pub cohort: String,
    /// The first day on the roster.
    pub since_day: i64,
    /// The first day no longer on it.
    #[serde(default)]
    pub until_day: Option<i64>,
}

/// Puts people on the roster, or changes their place on it.
pub async fn put_staff(tx: &mut Tx, program: &str, staff: &[Staff]) -> Result<(), StoreError> {
    let sql =
        "INSERT INTO gym_staff (program, gym_id, user_id, cohort, since_day, until_day) VALUES ($1, $2, $3, $4, $5, $6)
               ON CONFLICT (program, gym_id, user_id)
               DO UPDATE SET cohort = excluded.cohort, since_day = excluded.since_day, until_day = excluded.until_day";
    for one in staff {
        let args = args![program, &one.gym_id, one.user_id, &one.cohort, one.since_day, one.until_day];
        tx.execute(sql, args).await?;
    }
    Ok(())
}

/// The roster, by gym.
pub async fn staff(store: &Store, program: &str) -> Result<Vec<Staff>, StoreError> {
    let sql = "SELECT gym_id, user_id, cohort, since_day, until_day FROM gym_staff WHERE program = $1
               ORDER BY gym_id, user_id";
    let rows = store.all(sql, args![program]).await?;
    rows.iter()
        .map(|row| {
            Ok(Staff {
                gym_id: row.get("gym_id")?,
                user_id: row.get("user_id")?,
                cohort: row.get("cohort")?,
                since_day: row.get("since_day")?,
                until_day: row.get("until_day")?,
            })
        })
        .collect()
}
