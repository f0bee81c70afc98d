//! Days as integers, and the calendar as rows: when each day of a program begins in its zone.
//!
//! Must not know: any event.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::{CHUNK, places};
use crate::args;
use crate::store::{Arg, StoreError, Tx};

/// How far the calendar is kept ahead of the newest day seen, and behind the oldest.
const AHEAD_DAYS: i64 = 400;
const BEHIND_DAYS: i64 = 60;

/// Days since 1970-01-01 of an instant, in a zone.
pub fn day_of(at: Timestamp, zone: &TimeZone) -> i64 {
    day_number(zone.to_datetime(at).date())
}

/// Days since 1970-01-01 of a date.
pub fn day_number(date: Date) -> i64 {
    let epoch = Date::constant(1970, 1, 1);
    date.since(epoch).map_or(0, |span| i64::from(span.get_days()))
}

/// The date of a day number; `None` outside jiff's calendar.
pub fn date_of(day: i64) -> Option<Date> {
    Date::constant(1970, 1, 1).checked_add(i32::try_from(day).ok()?.days()).ok()
}

/// The instant at which a day begins in a zone; `None` outside jiff's calendar.
pub fn start_of_day(day: i64, zone: &TimeZone) -> Option<Timestamp> {
    Some(date_of(day)?.to_zoned(zone.clone()).ok()?.start_of_day().ok()?.timestamp())
}

/// Makes sure the calendar holds these days, with room around them.
pub(super) async fn keep_calendar(
    tx: &mut Tx,
    program: &str,
    zone: &TimeZone,
    days: impl Iterator<Item = i64> + Clone,
) -> Result<(), StoreError> {
    let (Some(first), Some(last)) = (days.clone().min(), days.max()) else { return Ok(()) };
    let held = tx
        .one("SELECT MIN(day) AS first, MAX(day) AS last FROM program_days WHERE program = $1", args![program])
        .await?;
    let (held_first, held_last): (Option<i64>, Option<i64>) = (held.get("first")?, held.get("last")?);
    let missing: Vec<i64> = match (held_first, held_last) {
        (Some(from), Some(to)) => {
            let before = if first < from { (first - BEHIND_DAYS)..from } else { 0..0 };
            // Ahead of the newest day there must be a week, for the views that read where a week ends.
            let after = if last + 8 > to { (to + 1)..(last + AHEAD_DAYS) } else { 0..0 };
            before.chain(after).collect()
        }
        _ => ((first - BEHIND_DAYS)..(last + AHEAD_DAYS)).collect(),
    };
    if held_first.is_none() {
        let sql = "INSERT INTO program_calendar (program, first_day) VALUES ($1, $2) ON CONFLICT (program) DO NOTHING";
        tx.execute(sql, args![program, None::<i64>]).await?;
    }
    for chunk in missing.chunks(CHUNK) {
        let mut args = Vec::with_capacity(chunk.len() * 3);
        let mut rows = 0;
        for day in chunk {
            if let Some(starts_at) = start_of_day(*day, zone) {
                args.extend([Arg::from(program), (*day).into(), starts_at.into()]);
                rows += 1;
            }
        }
        let sql = format!(
            "INSERT INTO program_days (program, day, starts_at) VALUES {} ON CONFLICT DO NOTHING",
            places(rows, 3)
        );
        tx.execute(&sql, &args).await?;
    }
    Ok(())
}

/// Says on which day the program begins: week 0 of the KPI views starts there. Until it is said, weeks begin on Mondays.
pub async fn set_first_day(tx: &mut Tx, program: &str, zone: &TimeZone, first_day: i64) -> Result<(), StoreError> {
    keep_calendar(tx, program, zone, [first_day].into_iter()).await?;
    let sql = "INSERT INTO program_calendar (program, first_day) VALUES ($1, $2)
               ON CONFLICT (program) DO UPDATE SET first_day = excluded.first_day";
    tx.execute(sql, args![program, first_day]).await?;
    Ok(())
}
