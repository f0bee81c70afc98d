//! The eight KPIs in SQL that was written by hand from seed 002's table, section 2, straight over the raw events: no rollup, no view, no calendar of
//! ours. PostgreSQL finds each event's day in the program's zone by itself, across the changes of the clocks.

use super::*;

/// `$1` the program, `$2` its zone, `$3` its first day, `$4` and `$5` the window, `$6` the cohorts (none: everyone).
const WHO_DID_WHAT: &str = "
    WITH asked AS (
        SELECT CAST($3 AS text)::date AS first_day, CAST($4 AS text)::date AS from_day, CAST($5 AS text)::date AS to_day
    ), members AS (
        SELECT user_id, first_day + 7 * (GREATEST(MIN((joined_at AT TIME ZONE $2)::date) - first_day, 0) / 7) AS week0
        FROM cohort_members, asked
        WHERE program = $1 AND (cardinality($6) = 0 OR cohort = ANY($6)) GROUP BY user_id, first_day
    ), happened AS (
        SELECT user_id, gym_id, kind, data, (occurred_at AT TIME ZONE $2)::date AS day,
            kind NOT IN ('sync_job', 'chain_day', 'staff_active') AS own
        FROM product_events WHERE program = $1
    ), did AS (
        SELECT h.*, m.week0 FROM happened h JOIN members m ON m.user_id = h.user_id
    ), active AS (
        SELECT DISTINCT user_id FROM did, asked WHERE own AND day BETWEEN from_day AND to_day
    )";

/// A KPI's two counts, over those.
fn by_hand(kpi: Kpi) -> &'static str {
    match kpi {
        Kpi::WorkoutRepeatRateW2 => {
            "SELECT COUNT(*) FILTER (WHERE logs >= 2), COUNT(*) FROM (
                SELECT user_id, COUNT(*) FILTER (WHERE kind = 'workout_logged') AS logs FROM did, asked
                WHERE own AND day - week0 BETWEEN 7 AND 13 AND day <= to_day GROUP BY user_id) second_week"
        }
        Kpi::FeedInteractionsPerActiveUser => {
            "SELECT (SELECT COUNT(*) FROM did, asked WHERE kind IN ('reaction', 'comment') AND day BETWEEN from_day AND to_day),
                (SELECT COUNT(*) FROM active)"
        }
        Kpi::ClassBookingCompletion => {
            "SELECT COUNT(*) FILTER (WHERE kind = 'booking_made'), COUNT(*) FILTER (WHERE kind = 'booking_attempted')
             FROM did, asked WHERE day BETWEEN from_day AND to_day"
        }
        Kpi::RetentionW4 => {
            "SELECT COUNT(*) FILTER (WHERE EXISTS (
                    SELECT FROM did d WHERE d.user_id = m.user_id AND d.own AND d.day - d.week0 BETWEEN 28 AND 34)), COUNT(*)
             FROM members m, asked
             WHERE m.week0 + 34 <= to_day AND EXISTS (
                SELECT FROM did d WHERE d.user_id = m.user_id AND d.own AND d.day - d.week0 BETWEEN 0 AND 6)"
        }
        Kpi::ChainSurvivalRate => {
            "SELECT COUNT(*) FILTER (WHERE EXISTS (
                    SELECT FROM generate_series(from_day, to_day, '1 day') AS stands WHERE 7 = (
                        SELECT COUNT(DISTINCT d.day) FROM did d
                        WHERE d.user_id = a.user_id AND d.kind IN ('workout_logged', 'chain_day')
                            AND d.day BETWEEN stands::date - 6 AND stands::date))), COUNT(*)
             FROM active a, asked"
        }
        Kpi::GymWeeklyActiveStaffRate => {
            "SELECT COUNT(DISTINCT user_id) FILTER (WHERE EXISTS (
                    SELECT FROM happened h WHERE h.user_id = s.user_id AND h.gym_id = s.gym_id
                        AND h.kind NOT IN ('sync_job', 'chain_day') AND h.day BETWEEN from_day AND to_day)),
                COUNT(DISTINCT user_id)
             FROM gym_staff s, asked
             WHERE s.program = $1 AND (cardinality($6) = 0 OR s.cohort = '' OR s.cohort = ANY($6))
                AND DATE '1970-01-01' + s.since_day::int <= to_day
                AND (s.until_day IS NULL OR DATE '1970-01-01' + s.until_day::int > to_day)"
        }
        Kpi::SyncSuccessRate => {
            "SELECT COUNT(*) FILTER (WHERE (data ->> 'ok')::boolean), COUNT(*) FROM did, asked
             WHERE kind = 'sync_job' AND (data ->> 'connected')::boolean AND day BETWEEN from_day AND to_day"
        }
        Kpi::Sev1Incidents => {
            "SELECT COUNT(i.name), MAX((to_day - from_day + 7) / 7)::bigint FROM asked LEFT JOIN incidents i
                ON i.program = $1 AND i.severity = 'sev-1' AND i.started_at < (to_day + 1)::timestamp AT TIME ZONE $2
                AND (i.resolved_at IS NULL OR GREATEST(i.resolved_at, i.started_at + INTERVAL '1 microsecond')
                    > from_day::timestamp AT TIME ZONE $2)"
        }
    }
}

fn date_text(day: i64) -> String {
    events::date_of(day).unwrap().to_string()
}

#[tokio::test]
async fn every_kpi_equals_sql_by_hand_over_the_raw_events() {
    for seed in seeds().map(|seed| seed + 1000) {
        let world = world(seed);
        on_each(async |store| {
            if store.dialect() == Dialect::Sqlite {
                return;
            }
            fill(&store, &world, seed).await;
            let zone = world.zone.iana_name().unwrap();
            let mut some = [0_i64; 8];
            // The weeks of the two changes of the clocks (8 and 29 March 2026), single days around them, and months.
            let (new_york, rome) = (date(2026, 3, 8), date(2026, 3, 29));
            let around = [new_york, rome].map(|change| day_number(change) - world.first_day);
            let changes = around.iter().flat_map(|day| [(day - 6, *day), (*day, day + 6), (*day, *day)]);
            for (from, to) in [(0, 6), (5, 11), (29, 35), (0, 48), (-3, 20)].into_iter().chain(changes) {
                for cohorts in [&[][..], &["pavia"], &["us", "eu"]] {
                    let query = query(&world, cohorts, from, to);
                    for (n, (name, kpi)) in Kpi::ALL.into_iter().enumerate() {
                        let sql =
                            format!("SELECT * FROM ({WHO_DID_WHAT} {}) AS kpi (numerator, denominator)", by_hand(kpi));
                        let [first, from, to] = [query.first_day, query.from, query.to].map(date_text);
                        let row = store.one(&sql, args!["p", zone, first, from, to, &query.cohorts]).await.unwrap();
                        let (numerator, denominator) = (row.get("numerator").unwrap(), row.get("denominator").unwrap());
                        let counted = count(&store, kpi, &query).await.unwrap();
                        some[n] += counted.numerator;
                        assert_eq!(
                            counted,
                            Counts { numerator, denominator },
                            "{name} {cohorts:?} {query:?} seed {seed}"
                        );
                    }
                }
            }
            assert!(some.iter().all(|sum| *sum > 0), "seed {seed} does not exercise every KPI: {some:?}");
        })
        .await;
    }
}

/// Seed 004, "migration" and "first sign-up", and seed 002's integrity check, word by word as they stand there.
#[tokio::test]
async fn the_seeds_own_queries_run_as_they_are_written() {
    on_each(async |store| {
        let table = "SELECT count(*) FROM beta_invites;";
        let landed = "SELECT count(*) FROM beta_invites WHERE
used_at IS NOT NULL;";
        let column = store.dialect().pick("count", "count(*)");
        let counted = async |sql: &str| store.one(sql, args![]).await.unwrap().get::<i64>(column).unwrap();
        assert_eq!((counted(table).await, counted(landed).await), (0, 0), "the table exists, empty");
        let now: Timestamp = "2026-03-02T12:00:00Z".parse().unwrap();
        for (place, used) in [(1_i64, None), (2, Some(now))] {
            let insert = "INSERT INTO beta_invites (id, program, cohort, email_norm, state, position, source, created_at, used_at)
                VALUES ($1, 'p', 'c', $2, $3, $4, 'list', $5, $6)";
            let (id, state) = (Uuid::now_v7(), if used.is_some() { "used" } else { "sent" });
            let bound = args![id, format!("{place}@example.com"), state, place, now, used];
            store.execute(insert, bound).await.unwrap();
        }
        assert_eq!((counted(table).await, counted(landed).await), (2, 1), "the first sign-up landed");
        assert_eq!(store.all("SELECT * FROM audit_log_integrity_summary", args![]).await.unwrap().len(), 1);
    })
    .await;
}
