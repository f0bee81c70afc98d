//! How far the people of a cohort got: invited, sent, opened, used, active; counted in one reading of its invites, for each label.
//!
//! Must not know: thresholds, how a count is shown.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::super::{Row, Store, StoreError};
use crate::args;

/// Whoever did something on one of so many days, today included, is active.
const ACTIVE_DAYS: i64 = 7;
/// Of so many messages that left first, the first ones to be seen are looked for.
const FIRST_SENT: i64 = 100;
/// So many people tell that messages arrive (seed 004, "Send").
const FIRST_SEEN: usize = 3;

/// How many people got how far. From `invited` to `active` each number is of those before it, but for `sent`: a code can be handed over
/// without a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Funnel {
    /// Everyone who was ever invited and not taken back before being used.
    pub invited: i64,
    /// Whose message was rendered.
    pub rendered: i64,
    /// Whose message was handed to a mail server.
    pub sent: i64,
    /// Who looked at the sign-up page.
    pub opened: i64,
    /// Who came in.
    pub used: i64,
    /// Who came in, and did something of their own (what that is stands at the head of migration 041) in the last seven days.
    pub active: i64,
    /// Of those whose message was handed to a mail server: who looked at the sign-up page.
    pub opened_of_sent: i64,
    /// Of these: who came in.
    pub used_of_sent: i64,
    /// Of these: who is active.
    pub active_of_sent: i64,
    /// Now in this state.
    pub waiting: i64,
    /// Now in this state.
    pub pending: i64,
    /// Now in this state.
    pub expired: i64,
    /// Now in this state.
    pub revoked: i64,
}

/// The funnel of a cohort, as a whole and for each label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Funnels {
    /// Of everyone.
    pub total: Funnel,
    /// Of everyone who carries a label; those without one stand under the empty text.
    pub labels: BTreeMap<String, Funnel>,
}

impl Funnel {
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            invited: row.get("invited")?,
            rendered: row.get("rendered")?,
            sent: row.get("sent")?,
            opened: row.get("opened")?,
            used: row.get("used")?,
            active: row.get("active")?,
            opened_of_sent: row.get("opened_of_sent")?,
            used_of_sent: row.get("used_of_sent")?,
            active_of_sent: row.get("active_of_sent")?,
            waiting: row.get("waiting")?,
            pending: row.get("pending")?,
            expired: row.get("expired")?,
            revoked: row.get("revoked")?,
        })
    }

    /// Adds those of another label.
    pub fn add(&mut self, other: &Self) {
        self.invited += other.invited;
        self.rendered += other.rendered;
        self.sent += other.sent;
        self.opened += other.opened;
        self.used += other.used;
        self.active += other.active;
        self.opened_of_sent += other.opened_of_sent;
        self.used_of_sent += other.used_of_sent;
        self.active_of_sent += other.active_of_sent;
        self.waiting += other.waiting;
        self.pending += other.pending;
        self.expired += other.expired;
        self.revoked += other.revoked;
    }
}

/// The funnel of a cohort on a day (days since 1970-01-01 in the program's zone): one reading of the cohort's own invites.
///
/// # Errors
/// The database's.
pub async fn funnels(store: &Store, program: &str, cohort: &str, today: i64) -> Result<Funnels, StoreError> {
    let mut funnels = Funnels::default();
    for row in store.all(&counting(), args![program, cohort, today - ACTIVE_DAYS + 1, today]).await? {
        let funnel = Funnel::read(&row)?;
        funnels.total.add(&funnel);
        funnels.labels.insert(row.get("label")?, funnel);
    }
    Ok(funnels)
}

/// The statement that counts: `$1` the program, `$2` the cohort, `$3` and `$4` the first and last day of being active.
fn counting() -> String {
    const KEPT: &str = "(i.state <> 'revoked' OR i.used_at IS NOT NULL)";
    const OPENED: &str = "(i.opened_at IS NOT NULL OR i.used_at IS NOT NULL)";
    // Looked up by the person, for those alone who are in. The plus keeps SQLite from going through everyone of those days instead.
    const ACTIVE: &str = "(i.state = 'used' AND EXISTS (SELECT 1 FROM person_days d
        WHERE d.program = $1 AND d.user_id = i.used_by AND +d.day >= $3 AND +d.day <= $4 AND d.active > 0))";
    let sum =
        |condition: String, name: &str| format!("coalesce(sum(CASE WHEN {condition} THEN 1 ELSE 0 END), 0) AS {name}");
    let of_sent = |what: &str| format!("i.sent_at IS NOT NULL AND {KEPT} AND {what}");
    let sums = [
        sum(KEPT.to_owned(), "invited"),
        sum(format!("i.rendered_at IS NOT NULL AND {KEPT}"), "rendered"),
        sum(format!("i.sent_at IS NOT NULL AND {KEPT}"), "sent"),
        sum(format!("{KEPT} AND {OPENED}"), "opened"),
        sum("i.used_at IS NOT NULL".to_owned(), "used"),
        sum(ACTIVE.to_owned(), "active"),
        sum(of_sent(OPENED), "opened_of_sent"),
        sum(of_sent("i.used_at IS NOT NULL"), "used_of_sent"),
        sum(of_sent(ACTIVE), "active_of_sent"),
        sum("i.state = 'waiting'".to_owned(), "waiting"),
        sum("i.state = 'pending'".to_owned(), "pending"),
        sum("i.state = 'expired'".to_owned(), "expired"),
        sum("i.state = 'revoked'".to_owned(), "revoked"),
    ];
    format!(
        "SELECT i.label, {} FROM beta_invites i WHERE i.program = $1 AND i.cohort = $2 GROUP BY i.label",
        sums.join(", ")
    )
}

/// How long it took until the first people were seen to have their message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Three people have it, at three mail providers where as many were written to: so long after it left for the last of them.
    After(SignedDuration),
    /// So far only so many were seen, of so many that are asked for. That nobody opened a message does not tell that it did not arrive.
    Seen(usize, usize),
}

/// Whether the first invites of a cohort arrive (seed 004: "First three invitees received the email within 5 min", looked at on three
/// different domains). Seen is whoever opened the link or came in. `None` while no message has left.
///
/// # Errors
/// The database's.
pub async fn arrival(store: &Store, program: &str, cohort: &str) -> Result<Option<Arrival>, StoreError> {
    let sql = "SELECT email_norm, sent_at, opened_at, used_at FROM beta_invites
        WHERE program = $1 AND cohort = $2 AND sent_at IS NOT NULL ORDER BY sent_at, position LIMIT $3";
    let rows = store.all(sql, args![program, cohort, FIRST_SENT]).await?;
    let sent = rows.iter().map(|row| {
        let who: String = row.get("email_norm")?;
        let domain = who.rsplit_once('@').map_or(who.as_str(), |(_, domain)| domain).to_owned();
        let (opened, used): (Option<Timestamp>, Option<Timestamp>) = (row.get("opened_at")?, row.get("used_at")?);
        let (left, seen): (Timestamp, _) = (row.get("sent_at")?, opened.into_iter().chain(used).min());
        Ok((domain, seen.map(|seen| seen.duration_since(left).max(SignedDuration::ZERO))))
    });
    Ok(arrived(&sent.collect::<Result<Vec<_>, StoreError>>()?))
}

/// From the domain of each message and how long after it left it was seen.
fn arrived(sent: &[(String, Option<SignedDuration>)]) -> Option<Arrival> {
    let domains: BTreeSet<&String> = sent.iter().map(|(domain, _)| domain).collect();
    let needed = FIRST_SEEN.min(sent.len());
    let mut seen: Vec<(SignedDuration, &String)> =
        sent.iter().filter_map(|(domain, seen)| Some(((*seen)?, domain))).collect();
    seen.sort();
    if domains.len() >= FIRST_SEEN {
        // The first of each provider.
        let mut known = BTreeSet::new();
        seen.retain(|(_, domain)| known.insert(*domain));
    }
    match seen.get(needed.checked_sub(1)?) {
        Some((after, _)) => Some(Arrival::After(*after)),
        None => Some(Arrival::Seen(seen.len(), needed)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]
    use super::super::super::{Dialect, testing::on_each};
    use super::*;

    /// Of a million invites each step that is not found by an index is a million times too many.
    #[tokio::test]
    async fn sqlite_finds_every_step_of_the_count_by_an_index() {
        on_each(async |store| {
            if store.dialect() != Dialect::Sqlite {
                return;
            }
            let sql = format!("EXPLAIN QUERY PLAN {}", counting());
            let plan = store.all(&sql, args!["kruxt", "pavia", 0_i64, 6_i64]).await.unwrap();
            let steps: Vec<String> = plan.iter().map(|row| row.get("detail").unwrap()).collect();
            let has = |part: &str| steps.iter().any(|step| step.contains(part));
            assert!(has("beta_invites_by_cohort (program=? AND cohort=?)"), "{steps:?}");
            assert!(has("(program=? AND user_id=?)") && !has("SCAN"), "{steps:?}");
        })
        .await;
    }

    #[test]
    fn three_people_at_three_providers_tell_that_messages_arrive() {
        let sent = |rows: &[(&str, Option<i64>)]| -> Vec<(String, Option<SignedDuration>)> {
            rows.iter().map(|(domain, seen)| ((*domain).to_owned(), seen.map(SignedDuration::from_secs))).collect()
        };
        let after = |seconds| Some(Arrival::After(SignedDuration::from_secs(seconds)));
        assert_eq!(arrived(&[]), None);
        assert_eq!(arrived(&sent(&[("a", Some(10)), ("a", None), ("a", Some(20)), ("a", Some(5))])), after(20));
        // Written to at three providers: it is the first at each that counts.
        let three = [("a", Some(10)), ("a", Some(11)), ("a", Some(12)), ("b", Some(100)), ("c", Some(50)), ("d", None)];
        assert_eq!(arrived(&sent(&three)), after(100));
        assert_eq!(arrived(&sent(&three[..5])), after(100));
        assert_eq!(
            arrived(&sent(&[("a", Some(1)), ("a", Some(2)), ("b", None), ("c", None)])),
            Some(Arrival::Seen(1, 3))
        );
        // A cohort of two can't show three.
        assert_eq!(arrived(&sent(&[("a", Some(1)), ("b", Some(9))])), after(9));
    }
}
