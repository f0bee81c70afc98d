//! The eight KPIs of seed 002, section 2, each as two counts over a window of days.
//!
//! Must not know: thresholds, clocks. What the words mean (active user, week, chain, connected user, staff) stands at the head of
//! migration 041, which offers the same KPIs by program week as views; here they are counted over any window:
//!
//! - `feed_interactions_per_active_user`, `class_booking_completion`, `chain_survival_rate`, `gym_weekly_active_staff_rate`,
//!   `sync_success_rate` and `sev1_incidents` speak of the days `from` to `to`, both included.
//! - `workout_repeat_rate_w2` and `retention_w4` speak of each person's own weeks and are read as of the end of day `to`;
//!   `from` does not matter. A second week counts as soon as it has begun, because the first review of seed 002 (day 11) falls
//!   into it; a fourth week only when it is over, because "not yet seen this week" is not "lost".

use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::events::start_of_day;
use super::{Arg, Dialect, Row, Store, StoreError};
use crate::args;

#[cfg(test)]
mod tests;

/// A KPI of seed 002, section 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kpi {
    /// Users with 2+ logs / active users, in each one's second week.
    WorkoutRepeatRateW2,
    /// Reactions + comments / active users.
    FeedInteractionsPerActiveUser,
    /// Successful bookings / booking attempts.
    ClassBookingCompletion,
    /// Of the users active in their week 0, those active in their week 4.
    RetentionW4,
    /// Users maintaining a chain of 7 days or more / active users.
    ChainSurvivalRate,
    /// Staff active / total staff on the last day.
    GymWeeklyActiveStaffRate,
    /// Successful sync jobs / total sync jobs, of connected users.
    SyncSuccessRate,
    /// Sev-1 incidents open in the window / weeks of the window (a week begun counts as one).
    Sev1Incidents,
}

impl Kpi {
    /// Every KPI by the name that checks use.
    pub const ALL: [(&'static str, Self); 8] = [
        ("workout_repeat_rate_w2", Self::WorkoutRepeatRateW2),
        ("feed_interactions_per_active_user", Self::FeedInteractionsPerActiveUser),
        ("class_booking_completion", Self::ClassBookingCompletion),
        ("retention_w4", Self::RetentionW4),
        ("chain_survival_rate", Self::ChainSurvivalRate),
        ("gym_weekly_active_staff_rate", Self::GymWeeklyActiveStaffRate),
        ("sync_success_rate", Self::SyncSuccessRate),
        ("sev1_incidents", Self::Sev1Incidents),
    ];

    /// The KPI of a name.
    ///
    /// # Errors
    /// Says which names there are.
    pub fn from_name(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, kpi)| *kpi).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|(known, _)| *known).collect();
            format!("no KPI `{name}`; there are {}", known.join(", "))
        })
    }

    /// Its name in checks.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kpi)| *kpi == self).map_or("", |(name, _)| name)
    }

    /// Whether it speaks of each person's own weeks, and so only of the window's end.
    pub fn counts_own_weeks(self) -> bool {
        matches!(self, Self::WorkoutRepeatRateW2 | Self::RetentionW4)
    }
}

impl FromStr for Kpi {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::from_name(name)
    }
}

/// Whom and when a KPI is about.
#[derive(Clone, Debug)]
pub struct KpiQuery {
    /// The program.
    pub program: String,
    /// The cohorts whose members count; empty: everyone in the program. Staff count by the cohort of their gym, incidents always.
    pub cohorts: Vec<String>,
    /// The program's first day: its week 0 starts there.
    pub first_day: i64,
    /// The first day of the window (days since 1970-01-01 in the program's zone).
    pub from: i64,
    /// The last day of the window, included.
    pub to: i64,
    /// The program's zone: incidents are instants.
    pub zone: TimeZone,
}

impl KpiQuery {
    /// The seven days that end with day `to`, as the weekly gate reads them.
    pub fn week(program: &str, cohorts: &[String], first_day: i64, to: i64, zone: TimeZone) -> Self {
        Self { program: program.into(), cohorts: cohorts.to_vec(), first_day, from: to - 6, to, zone }
    }

    /// The window as instants, the second one excluded; from the program's first day on for a KPI that counts own weeks.
    pub fn window(&self, kpi: Kpi) -> Option<(Timestamp, Timestamp)> {
        let from = if kpi.counts_own_weeks() { self.first_day.min(self.from) } else { self.from };
        Some((start_of_day(from, &self.zone)?, start_of_day(self.to + 1, &self.zone)?))
    }
}

/// The two counts of a KPI. A denominator of 0 means that there is no data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Above the line.
    pub numerator: i64,
    /// Below the line.
    pub denominator: i64,
}

/// Counts a KPI.
///
/// # Errors
/// [`StoreError::Invalid`] when the window lies outside the calendar or ends before it begins, else what the store says.
pub async fn count(store: &Store, kpi: Kpi, query: &KpiQuery) -> Result<Counts, StoreError> {
    if query.from > query.to {
        return Err(StoreError::Invalid("the window ends before it begins".into()));
    }
    let Some(window) = query.window(Kpi::Sev1Incidents) else {
        return Err(StoreError::Invalid("the window lies outside the calendar".into()));
    };
    let statement = Statement::new(store.dialect(), query);
    let statement = match kpi {
        Kpi::WorkoutRepeatRateW2 => statement.repeat_rate(),
        Kpi::FeedInteractionsPerActiveUser => statement.feed(),
        Kpi::ClassBookingCompletion => statement.booking(),
        Kpi::RetentionW4 => statement.retention(),
        Kpi::ChainSurvivalRate => statement.chains(),
        Kpi::GymWeeklyActiveStaffRate => statement.staff(),
        Kpi::SyncSuccessRate => statement.syncs(),
        Kpi::Sev1Incidents => statement.incidents(query, window),
    };
    counts(&store.one(&statement.sql, &statement.args).await?)
}

/// How many members of the cohorts (empty: of the program) were ever active: the funnel's last step.
pub async fn active_members(store: &Store, program: &str, cohorts: &[String]) -> Result<i64, StoreError> {
    let cohort =
        if cohorts.is_empty() { String::new() } else { format!("AND {}", store.dialect().any("cohort", "$2")) };
    let sql = format!(
        "SELECT COUNT(DISTINCT user_id) AS n FROM person_days WHERE program = $1 AND active > 0
         AND user_id IN (SELECT user_id FROM cohort_members WHERE program = $1 {cohort})"
    );
    let args: &[Arg] = if cohorts.is_empty() { args![program] } else { args![program, cohorts] };
    store.one(&sql, args).await?.get("n")
}

fn counts(row: &Row) -> Result<Counts, StoreError> {
    Ok(Counts { numerator: row.get("numerator")?, denominator: row.get("denominator")? })
}

/// A statement in the making. `$1` is the program, `$2` its first day, `$3` and `$4` the window, `$5` the cohorts if there are any.
struct Statement {
    sql: String,
    args: Vec<Arg>,
    /// The condition on `cohort`, empty when everyone counts.
    cohorts: String,
}

/// The parameters once, with their types: PostgreSQL cannot guess them everywhere, and wants none left out.
const BOUNDS: &str = "bounds AS (
        SELECT CAST($2 AS bigint) AS first_day, CAST($3 AS bigint) AS from_day, CAST($4 AS bigint) AS to_day
    )";

impl Statement {
    fn new(dialect: Dialect, query: &KpiQuery) -> Self {
        let mut args: Vec<Arg> =
            vec![(&query.program).into(), query.first_day.into(), query.from.into(), query.to.into()];
        let cohorts = if query.cohorts.is_empty() {
            String::new()
        } else {
            args.push((&query.cohorts).into());
            format!("AND {}", dialect.any("cohort", "$5"))
        };
        Self { sql: String::new(), args, cohorts }
    }

    /// A statement over `days`: the rows of a rollup in the window (begun `earlier` days before it) that are of members.
    /// It starts from the days, not from the members: of a large cohort most may have done nothing.
    fn over_days(mut self, rollup: &str, earlier: u32, rest: &str) -> Self {
        self.sql = format!(
            "WITH {BOUNDS}, days AS (
                SELECT d.*, b.from_day FROM bounds b
                JOIN {rollup} d ON d.program = $1 AND d.day BETWEEN b.from_day - {earlier} AND b.to_day
                WHERE d.user_id IN (SELECT user_id FROM cohort_members WHERE program = $1 {})
            ) {rest}",
            self.cohorts
        );
        self
    }

    /// A statement over `days`: what each member did from the first day of his week 0 on, which is `week`.
    fn over_own_weeks(mut self, rest: &str) -> Self {
        self.sql = format!(
            "WITH {BOUNDS}, joined AS (
                SELECT user_id, MIN(COALESCE(joined_day, 0)) AS day FROM checks_members
                WHERE program = $1 AND user_id IN (SELECT user_id FROM person_days WHERE program = $1) {}
                GROUP BY user_id
            ), people AS (
                SELECT j.user_id, b.to_day, b.first_day
                    + CASE WHEN j.day > b.first_day THEN (j.day - b.first_day) / 7 * 7 ELSE 0 END AS week
                FROM joined j CROSS JOIN bounds b
            ), days AS (
                SELECT p.user_id, p.week, p.to_day, d.day, d.logs FROM people p
                JOIN person_days d ON d.program = $1 AND d.user_id = p.user_id AND d.active > 0
                    AND d.day BETWEEN p.week AND p.to_day
            ) {rest}",
            self.cohorts
        );
        self
    }

    fn repeat_rate(self) -> Self {
        self.over_own_weeks(
            ", second AS (
                SELECT user_id, SUM(logs) AS logs FROM days WHERE day BETWEEN week + 7 AND week + 13 GROUP BY user_id
            )
            SELECT COUNT(CASE WHEN logs >= 2 THEN 1 END) AS numerator, COUNT(*) AS denominator FROM second",
        )
    }

    fn retention(self) -> Self {
        self.over_own_weeks(
            ", seen AS (
                SELECT user_id, MAX(CASE WHEN day <= week + 6 THEN 1 ELSE 0 END) AS week0,
                    MAX(CASE WHEN day BETWEEN week + 28 AND week + 34 THEN 1 ELSE 0 END) AS week4
                FROM days WHERE week + 34 <= to_day GROUP BY user_id
            )
            SELECT COUNT(CASE WHEN week4 = 1 THEN 1 END) AS numerator, COUNT(*) AS denominator FROM seen WHERE week0 = 1",
        )
    }

    fn feed(self) -> Self {
        self.over_days(
            "person_days",
            0,
            "SELECT CAST(COALESCE(SUM(reactions + comments), 0) AS bigint) AS numerator,
                COUNT(DISTINCT user_id) AS denominator
            FROM days WHERE active > 0",
        )
    }

    fn booking(self) -> Self {
        self.over_days(
            "person_days",
            0,
            "SELECT CAST(COALESCE(SUM(bookings), 0) AS bigint) AS numerator,
                CAST(COALESCE(SUM(booking_attempts), 0) AS bigint) AS denominator
            FROM days",
        )
    }

    fn chains(self) -> Self {
        // A chain stands at 7 on a day of the window exactly when 7 consecutive kept days lie between `from - 6` and `to`.
        self.over_days(
            "person_days",
            6,
            ", kept AS (
                SELECT DISTINCT user_id, day FROM days WHERE logs > 0 OR chain_days > 0
            ), islands AS (
                SELECT user_id, day - ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY day) AS island FROM kept
            ), maintaining AS (
                SELECT DISTINCT user_id FROM islands GROUP BY user_id, island HAVING COUNT(*) >= 7
            ), active AS (
                SELECT DISTINCT user_id FROM days WHERE active > 0 AND day >= from_day
            )
            SELECT COUNT(m.user_id) AS numerator, COUNT(*) AS denominator
            FROM active a LEFT JOIN maintaining m ON m.user_id = a.user_id",
        )
    }

    fn syncs(self) -> Self {
        self.over_days(
            "sync_days",
            0,
            "SELECT CAST(COALESCE(SUM(ok), 0) AS bigint) AS numerator, CAST(COALESCE(SUM(total), 0) AS bigint) AS denominator
            FROM days",
        )
    }

    /// Staff are counted once, at however many gyms they work.
    fn staff(mut self) -> Self {
        let cohorts = self.cohorts.replacen("AND ", "OR ", 1);
        let all = if cohorts.is_empty() { "OR 1 = 1" } else { &cohorts };
        self.sql = format!(
            "WITH {BOUNDS}, roster AS (
                SELECT s.user_id, MAX(CASE WHEN EXISTS (
                    SELECT 1 FROM person_days d WHERE d.program = $1 AND d.user_id = s.user_id AND d.gym_id = s.gym_id
                        AND d.day BETWEEN b.from_day AND b.to_day AND (d.staff > 0 OR d.active > 0)
                ) THEN 1 ELSE 0 END) AS active
                FROM gym_staff s CROSS JOIN bounds b
                WHERE s.program = $1 AND (s.cohort = '' {all})
                    AND s.since_day <= b.to_day AND (s.until_day IS NULL OR s.until_day > b.to_day)
                GROUP BY s.user_id
            )
            SELECT COUNT(CASE WHEN active = 1 THEN 1 END) AS numerator, COUNT(*) AS denominator FROM roster"
        );
        self
    }

    fn incidents(mut self, query: &KpiQuery, (from, until): (Timestamp, Timestamp)) -> Self {
        let weeks = (query.to - query.from + 7) / 7;
        self.args = vec![(&query.program).into(), from.into(), until.into(), weeks.into()];
        self.sql = "SELECT COUNT(*) AS numerator, CAST($4 AS bigint) AS denominator FROM incidents
            WHERE program = $1 AND severity = 'sev-1' AND started_at < $3
                AND (resolved_at IS NULL OR resolved_at > $2 OR started_at >= $2)"
            .into();
        self
    }
}
