//! A program's calendar, for words that are said outside its documents: its zone and its day 0.
//!
//! Must not know: what the words are about.

use betagate_core::resources::{Edge, Moment, SignoffSpec};
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::store::{Store, StoreError, status};

/// A word with its end as an instant: days and times of day are the program's.
///
/// # Errors
/// The database's, or nothing is recorded of the program yet.
pub async fn in_its_calendar(store: &Store, program: &str, word: SignoffSpec) -> Result<SignoffSpec, StoreError> {
    let Some(until) = word.until else { return Ok(word) };
    let all = status::all_good(store).await?;
    let good = all.into_iter().find(|good| good.kind == "Program" && good.name == program);
    let calendar = good.and_then(|good| {
        let day0: Date = good.body["day0"].as_str()?.parse().ok()?;
        let zone = TimeZone::get(good.body["spec"]["timeZone"].as_str()?).ok()?;
        Some((day0, zone))
    });
    let (day0, zone) = calendar.ok_or_else(|| StoreError::Missing(format!("the calendar of program '{program}'")))?;
    Ok(SignoffSpec { until: Some(Moment::Instant(until.resolve(day0, &zone, Edge::End))), ..word })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

    use serde_json::json;

    use super::*;
    use crate::store::testing::on_each;

    #[tokio::test]
    async fn a_day_or_an_hour_that_someone_says_is_one_of_the_programs() {
        on_each(async |store| {
            let mut tx = store.begin().await.unwrap();
            let good = status::LastGood {
                kind: "Program".to_owned(),
                name: "p".to_owned(),
                program: "p".to_owned(),
                revision: "r".to_owned(),
                body: json!({ "spec": { "timeZone": "Europe/Rome" }, "day0": "2026-03-02" }),
                accepted_at: jiff::Timestamp::UNIX_EPOCH,
            };
            status::keep_good(&mut tx, &good).await.unwrap();
            tx.commit().await.unwrap();
            for (until, instant) in [
                ("2026-03-20", "2026-03-20T23:00:00Z"),
                ("2026-04-01T09:00", "2026-04-01T07:00:00Z"),
                ("+14d", "2026-03-16T23:00:00Z"),
                ("2026-03-20T18:00:00Z", "2026-03-20T18:00:00Z"),
            ] {
                let word: SignoffSpec =
                    serde_json::from_value(json!({ "program": "p", "by": "ana", "says": "waive", "until": until }))
                        .unwrap();
                let word = in_its_calendar(&store, "p", word).await.unwrap();
                assert_eq!(word.until.map(|until| until.to_string()).as_deref(), Some(instant), "{until}");
            }
        })
        .await;
    }
}
