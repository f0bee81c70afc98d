//! Random histories of a beta: people, staff, events and incidents, and how they are put into a store.

use jiff::civil::date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::args;
use crate::store::Store;
use crate::store::events::{self, Event, EventKind, Staff, day_number, start_of_day};
/// A small generator of our own (splitmix64), so that a seed means the same forever.
pub(super) struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn id(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.next(), self.next())
    }
}

pub(super) struct World {
    pub zone: TimeZone,
    pub first_day: i64,
    pub members: Vec<(String, Uuid, Timestamp)>,
    pub staff: Vec<Staff>,
    pub events: Vec<Event>,
    pub incidents: Vec<(String, Timestamp, Option<Timestamp>)>,
}

pub(super) const WEEKS: i64 = 7;

pub(super) fn world(seed: u64) -> World {
    let mut dice = Dice(seed);
    let name = ["Europe/Rome", "America/New_York", "UTC"][dice.below(3) as usize];
    let zone = TimeZone::get(name).unwrap();
    // A Monday, and any day: weeks go by the first day, not by the calendar. Both cross a change of the clocks.
    let first_day = day_number(date(2026, 3, 2)) + [0, 3][dice.below(2) as usize];
    let instant = |dice: &mut Dice, day: i64| {
        let seconds = i64::try_from(dice.below(23 * 3600)).unwrap();
        start_of_day(day, &zone).unwrap() + SignedDuration::from_secs(seconds)
    };
    let mut members = Vec::new();
    let mut users = Vec::new();
    for n in 0..24 {
        let user = dice.id();
        users.push(user);
        let cohort = if n % 3 == 0 { "us" } else { "pavia" };
        let joined = first_day - 2 + dice.below(if n % 3 == 0 { 21 } else { 9 }) as i64;
        members.push((cohort.to_owned(), user, instant(&mut dice, joined)));
        if dice.chance(15) {
            let later = joined + dice.below(14) as i64;
            members.push(("eu".to_owned(), user, instant(&mut dice, later)));
        }
    }
    let outsider = dice.id();
    let mut events = Vec::new();
    for user in users.iter().copied().chain([outsider]) {
        let habit = dice.below(100);
        for day in first_day..first_day + 7 * WEEKS {
            if !dice.chance(habit) {
                continue;
            }
            for _ in 0..dice.below(4) {
                let kind = EventKind::ALL[dice.below(11) as usize].1;
                let at = instant(&mut dice, day);
                events.push(event(&mut dice, user, kind, at));
            }
            if dice.chance(60) {
                let at = instant(&mut dice, day);
                events.push(event(&mut dice, user, EventKind::WorkoutLogged, at));
            }
        }
    }
    let mut staff = Vec::new();
    for n in 0..8 {
        let user_id = if n == 0 { users[0] } else { dice.id() };
        let since_day = first_day - 5 + dice.below(20) as i64;
        let until_day = dice.chance(25).then(|| since_day + dice.below(40) as i64);
        let cohort = ["", "pavia", "us"][dice.below(3) as usize].to_owned();
        for gym in 0..=dice.below(2) {
            let gym_id = format!("gym-{gym}");
            staff.push(Staff { gym_id, user_id, cohort: cohort.clone(), since_day, until_day });
        }
        for day in first_day..first_day + 7 * WEEKS {
            if dice.chance(10) {
                let at = instant(&mut dice, day);
                events.push(event(&mut dice, user_id, EventKind::StaffActive, at));
            }
        }
    }
    let mut incidents = Vec::new();
    for n in 0..6 {
        let day = first_day + dice.below(7 * WEEKS as u64) as i64;
        let started = instant(&mut dice, day);
        let resolved = dice.chance(80).then(|| started + SignedDuration::from_hours(dice.below(200) as i64));
        incidents.push((["sev-1", "sev-2"][n % 2].to_owned(), started, resolved));
    }
    World { zone, first_day, members, staff, events, incidents }
}

pub(super) fn event(dice: &mut Dice, user_id: Uuid, kind: EventKind, occurred_at: Timestamp) -> Event {
    let gym = dice.chance(60) || kind == EventKind::StaffActive;
    let sync = kind == EventKind::SyncJob;
    Event {
        id: dice.id(),
        user_id,
        gym_id: gym.then(|| format!("gym-{}", dice.below(2))),
        kind,
        occurred_at,
        ok: sync.then(|| dice.chance(90)),
        connected: (sync && dice.chance(50)).then(|| dice.chance(70)),
        data: None,
    }
}

/// Puts a world into a store: events in any order, in batches of any size, some twice.
pub(super) async fn fill(store: &Store, world: &World, seed: u64) {
    let mut dice = Dice(seed ^ 0xdead);
    let now = start_of_day(world.first_day + 7 * WEEKS, &world.zone).unwrap();
    let mut tx = store.begin().await.unwrap();
    for (cohort, user, joined) in &world.members {
        let address = format!("{user}@example.com");
        let sql = store.dialect().pick(
            "INSERT INTO users (id, email, email_norm, password_hash, is_admin, created_at)
             VALUES ($1, $2, $2, '', false, $3) ON CONFLICT DO NOTHING",
            "INSERT INTO users (id, email, email_norm, password_hash, is_admin, created_at)
             VALUES ($1, $2, $2, '', 0, $3) ON CONFLICT DO NOTHING",
        );
        tx.execute(sql, args![user, &address, joined]).await.unwrap();
        let sql =
            "INSERT INTO cohort_members (program, cohort, user_id, email_norm, joined_at) VALUES ('p', $1, $2, $3, $4)";
        tx.execute(sql, args![cohort, user, &address, joined]).await.unwrap();
    }
    for (n, (severity, started, resolved)) in world.incidents.iter().enumerate() {
        let sql = "INSERT INTO incidents (program, name, severity, category, title, started_at, resolved_at, source, first_seen)
                   VALUES ('p', $1, $2, '', 'trouble', $3, $4, 'test', $3)";
        tx.execute(sql, args![format!("i{n}"), severity, started, resolved]).await.unwrap();
    }
    events::put_staff(&mut tx, "p", &world.staff).await.unwrap();
    tx.commit().await.unwrap();
    let mut order: Vec<&Event> = world.events.iter().collect();
    for n in (1..order.len()).rev() {
        order.swap(n, dice.below(n as u64 + 1) as usize);
    }
    let mut rest = order.as_slice();
    while !rest.is_empty() {
        let (batch, left) = rest.split_at(rest.len().min(1 + dice.below(400) as usize));
        rest = left;
        let mut batch: Vec<Event> = batch.iter().map(|event| (*event).clone()).collect();
        batch.extend(world.events.iter().take(dice.below(20) as usize).cloned());
        let mut tx = store.begin().await.unwrap();
        events::ingest(&mut tx, "p", &world.zone, now, batch).await.unwrap();
        tx.commit().await.unwrap();
    }
}
