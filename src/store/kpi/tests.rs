//! Every KPI against a plain computation over the raw events, on random histories; and the weekly views against the functions.
#![allow(clippy::unwrap_used, reason = "tests")]

mod by_hand;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::date;
use jiff::tz::TimeZone;
use uuid::Uuid;

use super::{Counts, Kpi, KpiQuery, count};
use crate::args;
use crate::store::events::{self, Event, EventKind, Staff, day_number, day_of, start_of_day};
use crate::store::testing::on_each;
use crate::store::{Dialect, Store};
use world::{Dice, WEEKS, World, event, fill, world};

/// The KPIs read straight off seed 002's table, person by person, over the raw events.
struct Naive<'a> {
    world: &'a World,
    query: &'a KpiQuery,
    people: BTreeMap<Uuid, i64>,
    days: Vec<(i64, &'a Event)>,
}

impl<'a> Naive<'a> {
    fn new(world: &'a World, query: &'a KpiQuery) -> Self {
        let mut people = BTreeMap::new();
        for (cohort, user, joined) in &world.members {
            if query.cohorts.is_empty() || query.cohorts.contains(cohort) {
                let day = day_of(*joined, &world.zone);
                people.entry(*user).and_modify(|known: &mut i64| *known = (*known).min(day)).or_insert(day);
            }
        }
        let days = world.events.iter().map(|event| (day_of(event.occurred_at, &world.zone), event)).collect();
        Self { world, query, people, days }
    }

    fn events(&self, from: i64, to: i64) -> impl Iterator<Item = (i64, &'a Event)> {
        self.days.iter().copied().filter(move |(day, _)| (from..=to).contains(day))
    }

    fn number(&self, from: i64, to: i64, what: impl Fn(&Event) -> bool) -> i64 {
        let of_members = |event: &Event| self.people.contains_key(&event.user_id);
        self.events(from, to).filter(|(_, event)| of_members(event) && what(event)).count() as i64
    }

    fn active(&self, user: Uuid, from: i64, to: i64) -> bool {
        self.number(from, to, |event| event.user_id == user && event.kind.makes_active()) > 0
    }

    fn active_users(&self) -> Vec<Uuid> {
        self.people.keys().copied().filter(|user| self.active(*user, self.query.from, self.query.to)).collect()
    }

    /// The first day of a person's week 0.
    fn week0(&self, user: Uuid) -> i64 {
        let mut start = self.query.first_day;
        while self.people[&user] >= start + 7 {
            start += 7;
        }
        start
    }

    fn longest_chain_reaching_into_window(&self, user: Uuid) -> i64 {
        let kept: BTreeSet<i64> = self
            .events(i64::MIN, i64::MAX)
            .filter(|(_, e)| e.user_id == user && matches!(e.kind, EventKind::WorkoutLogged | EventKind::ChainDay))
            .map(|(day, _)| day)
            .collect();
        let length = |day: i64| (0..).take_while(|back| kept.contains(&(day - back))).count() as i64;
        (self.query.from..=self.query.to).map(length).max().unwrap_or(0)
    }

    fn staff(&self) -> Counts {
        let listed = |s: &&Staff| {
            s.since_day <= self.query.to
                && s.until_day.is_none_or(|until| until > self.query.to)
                && (s.cohort.is_empty() || self.query.cohorts.is_empty() || self.query.cohorts.contains(&s.cohort))
        };
        let mut people: BTreeMap<Uuid, bool> = BTreeMap::new();
        for place in self.world.staff.iter().filter(listed) {
            let active = self.events(self.query.from, self.query.to).any(|(_, e)| {
                e.user_id == place.user_id
                    && e.gym_id.as_ref() == Some(&place.gym_id)
                    && (e.kind.makes_active() || e.kind == EventKind::StaffActive)
            });
            *people.entry(place.user_id).or_default() |= active;
        }
        Counts { numerator: people.values().filter(|active| **active).count() as i64, denominator: people.len() as i64 }
    }

    fn count(&self, kpi: Kpi) -> Counts {
        let (from, to) = (self.query.from, self.query.to);
        let (numerator, denominator) = match kpi {
            Kpi::WorkoutRepeatRateW2 => {
                let week = |user| (self.week0(user) + 7, (self.week0(user) + 13).min(to));
                let active = self.people.keys().copied().filter(|u| self.active(*u, week(*u).0, week(*u).1));
                let logs = |user| {
                    let (a, b) = week(user);
                    self.number(a, b, |e| e.user_id == user && e.kind == EventKind::WorkoutLogged)
                };
                let logs: Vec<i64> = active.map(logs).collect();
                (logs.iter().filter(|n| **n >= 2).count() as i64, logs.len() as i64)
            }
            Kpi::RetentionW4 => {
                let over = |u: &Uuid| self.week0(*u) + 34 <= to;
                let week0 = |u: &Uuid| self.active(*u, self.week0(*u), self.week0(*u) + 6);
                let week4 = |u: &&Uuid| self.active(**u, self.week0(**u) + 28, self.week0(**u) + 34);
                let began: Vec<&Uuid> = self.people.keys().filter(|u| over(u) && week0(u)).collect();
                (began.iter().copied().filter(week4).count() as i64, began.len() as i64)
            }
            Kpi::FeedInteractionsPerActiveUser => {
                let feed = |e: &Event| matches!(e.kind, EventKind::Reaction | EventKind::Comment);
                (self.number(from, to, feed), self.active_users().len() as i64)
            }
            Kpi::ClassBookingCompletion => (
                self.number(from, to, |e| e.kind == EventKind::BookingMade),
                self.number(from, to, |e| e.kind == EventKind::BookingAttempted),
            ),
            Kpi::ChainSurvivalRate => {
                let active = self.active_users();
                let kept = active.iter().filter(|u| self.longest_chain_reaching_into_window(**u) >= 7);
                (kept.count() as i64, active.len() as i64)
            }
            Kpi::GymWeeklyActiveStaffRate => return self.staff(),
            Kpi::SyncSuccessRate => {
                let job = |e: &Event| e.kind == EventKind::SyncJob && e.connected != Some(false);
                (self.number(from, to, |e| job(e) && e.ok == Some(true)), self.number(from, to, job))
            }
            Kpi::Sev1Incidents => {
                let begin = start_of_day(from, &self.world.zone).unwrap();
                let end = start_of_day(to + 1, &self.world.zone).unwrap();
                let open = |(severity, started, resolved): &&(String, Timestamp, Option<Timestamp>)| {
                    severity == "sev-1" && *started < end && resolved.is_none_or(|at| at > begin || *started >= begin)
                };
                (self.world.incidents.iter().filter(open).count() as i64, (to - from).div_euclid(7) + 1)
            }
        };
        Counts { numerator, denominator }
    }
}

fn query(world: &World, cohorts: &[&str], from: i64, to: i64) -> KpiQuery {
    KpiQuery {
        program: "p".into(),
        cohorts: cohorts.iter().map(ToString::to_string).collect(),
        first_day: world.first_day,
        from: world.first_day + from,
        to: world.first_day + to,
        zone: world.zone.clone(),
    }
}

fn seeds() -> std::ops::Range<u64> {
    let soak = std::env::var("BETAGATE_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    0..3 * soak
}

#[tokio::test]
async fn every_kpi_equals_a_plain_count_over_the_raw_events() {
    for seed in seeds() {
        let world = world(seed);
        on_each(async |store| {
            fill(&store, &world, seed).await;
            let mut some = [0_i64; 8];
            for cohorts in [&[][..], &["pavia"], &["us", "eu"], &["nobody"]] {
                for (from, to) in [(0, 6), (5, 11), (7, 13), (12, 18), (29, 35), (0, 48), (-3, 20), (48, 60)] {
                    let query = query(&world, cohorts, from, to);
                    let naive = Naive::new(&world, &query);
                    for (n, (name, kpi)) in Kpi::ALL.into_iter().enumerate() {
                        let counted = count(&store, kpi, &query).await.unwrap();
                        assert_eq!(counted, naive.count(kpi), "{name} {cohorts:?} {from}..={to} seed {seed}");
                        some[n] += counted.numerator;
                    }
                }
            }
            assert!(some.iter().all(|sum| *sum > 0), "seed {seed} does not exercise every KPI: {some:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn the_weekly_views_equal_the_functions() {
    let world = world(7);
    on_each(async |store| {
        fill(&store, &world, 7).await;
        let mut tx = store.begin().await.unwrap();
        events::set_first_day(&mut tx, "p", &world.zone, world.first_day).await.unwrap();
        tx.commit().await.unwrap();
        let mut rows = 0;
        for (name, kpi) in Kpi::ALL {
            let sql = format!(
                "SELECT cohort, week, from_day, to_day, numerator, denominator FROM checks_{name} WHERE program = 'p'"
            );
            for row in store.all(&sql, args![]).await.unwrap() {
                let (week, cohort): (i64, String) = (row.get("week").unwrap(), row.get("cohort").unwrap());
                assert_eq!(row.get::<i64>("from_day").unwrap(), world.first_day + 7 * week);
                assert_eq!(row.get::<i64>("to_day").unwrap(), world.first_day + 7 * week + 6);
                let shown =
                    Counts { numerator: row.get("numerator").unwrap(), denominator: row.get("denominator").unwrap() };
                if kpi == Kpi::GymWeeklyActiveStaffRate || kpi.counts_own_weeks() {
                    // The view has one row a group (gyms of a cohort; who joined in one week), the function adds them up.
                    rows += i64::from(shown.numerator <= shown.denominator);
                    continue;
                }
                let query = query(&world, &[cohort.as_str()], 7 * week, 7 * week + 6);
                assert_eq!(shown, count(&store, kpi, &query).await.unwrap(), "{name} {cohort} week {week}");
                rows += 1;
            }
        }
        assert!(rows > 60, "{rows} rows");
        own_weeks_add_up(&store, &world).await;
    })
    .await;
}

/// Summed over the weeks of joining, the views of own weeks give what the functions give at the end.
async fn own_weeks_add_up(store: &Store, world: &World) {
    for (name, kpi) in Kpi::ALL.into_iter().filter(|(_, kpi)| kpi.counts_own_weeks()) {
        for cohort in ["pavia", "us"] {
            let sql = format!(
                "SELECT CAST(SUM(numerator) AS bigint) AS numerator, CAST(SUM(denominator) AS bigint) AS denominator
                 FROM checks_{name} WHERE program = 'p' AND cohort = $1 AND week < $2"
            );
            let row = store.one(&sql, args![cohort, WEEKS]).await.unwrap();
            let shown =
                Counts { numerator: row.get("numerator").unwrap(), denominator: row.get("denominator").unwrap() };
            let query = query(world, &[cohort], 0, 7 * WEEKS - 1);
            assert_eq!(shown, count(store, kpi, &query).await.unwrap(), "{name} {cohort}");
        }
    }
}

#[tokio::test]
async fn each_view_carries_its_definition_in_the_database() {
    on_each(async |store| {
        for (name, _) in Kpi::ALL {
            let sql = store.dialect().pick(
                "SELECT obj_description(to_regclass(current_schema() || '_checks.' || $1), 'pg_class') AS text",
                "SELECT sql AS text FROM sqlite_schema WHERE name = 'checks_' || $1",
            );
            let text: String = store.one(sql, args![name]).await.unwrap().get("text").unwrap();
            assert!(text.contains("Seed 002, section 2"), "{name}: {text}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_views_stand_in_a_schema_of_their_own_on_postgresql() {
    on_each(async |store| {
        if store.dialect() == Dialect::Postgres {
            let row = store.one("SELECT current_schema() AS home", args![]).await.unwrap();
            let home: String = row.get("home").unwrap();
            let sql = format!("SELECT COUNT(*) AS n FROM {home}_checks.sync_success_rate");
            assert_eq!(store.one(&sql, args![]).await.unwrap().get::<i64>("n").unwrap(), 0);
        }
    })
    .await;
}

#[test]
fn an_unknown_kpi_is_answered_with_the_known_ones() {
    assert_eq!(Kpi::from_name("retention_w4"), Ok(Kpi::RetentionW4));
    let error = Kpi::from_name("retention").unwrap_err();
    assert!(error.contains("retention_w4") && error.contains("sev1_incidents"), "{error}");
}

#[tokio::test]
async fn the_first_review_of_seed_002_reads_the_second_week_and_no_retention() {
    on_each(async |store| {
        let zone = TimeZone::get("Europe/Rome").unwrap();
        let first_day = day_number(date(2026, 3, 2));
        let mut world = world(1);
        world.zone = zone.clone();
        world.first_day = first_day;
        let (user, idle) = (Uuid::now_v7(), Uuid::now_v7());
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        world.members = [user, idle].map(|u| ("pavia".into(), u, at("2026-03-02T12:00:00Z"))).to_vec();
        let mut dice = Dice(5);
        let mut log = |user, when: &str| event(&mut dice, user, EventKind::WorkoutLogged, at(when));
        // 23:30 UTC on Sunday is Monday in Rome: the second week.
        world.events = vec![
            log(user, "2026-03-08T23:30:00Z"),
            log(user, "2026-03-10T08:00:00Z"),
            log(idle, "2026-03-08T22:30:00Z"),
            log(idle, "2026-03-12T08:00:00Z"),
        ];
        fill(&store, &world, 1).await;
        let review = KpiQuery::week("p", &["pavia".into()], first_day, day_number(date(2026, 3, 13)), zone.clone());
        let repeat = count(&store, Kpi::WorkoutRepeatRateW2, &review).await.unwrap();
        assert_eq!(repeat, Counts { numerator: 1, denominator: 2 });
        assert_eq!(count(&store, Kpi::RetentionW4, &review).await.unwrap(), Counts::default());
        assert_eq!(super::active_members(&store, "p", &["pavia".into()]).await.unwrap(), 2);
        assert_eq!(super::active_members(&store, "p", &[]).await.unwrap(), 2);
        assert_eq!(super::active_members(&store, "p", &["us".into()]).await.unwrap(), 0);
        // +35d is the day after week 4.
        let last = KpiQuery::week("p", &["pavia".into()], first_day, first_day + 34, zone);
        let retained = count(&store, Kpi::RetentionW4, &last).await.unwrap();
        assert_eq!(retained, Counts { numerator: 0, denominator: 1 });
    })
    .await;
}

#[test]
fn the_kpis_that_checks_may_name_are_those_that_are_counted() {
    let counted: BTreeSet<&str> = Kpi::ALL.iter().map(|(name, _)| *name).collect();
    let may_be_named: BTreeSet<&str> = crate::core::desired::KPIS.iter().copied().collect();
    assert_eq!(may_be_named, counted);
}
