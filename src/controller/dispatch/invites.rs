//! One program's invites: which is next, claimed in a transaction of its own, sent, settled. One at a time over one connection.
//!
//! Must not know: why a cohort is open; what a message says; what becomes of one that was handed over ([`receipts`] does).

mod receipts;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use betagate_core::desired::ProgramDesired;
use betagate_core::resources::{Rate, Span, USUAL_EXPIRY};
use jiff::{SignedDuration, Timestamp};

use super::super::ControllerError;
use super::letters::{Addressee, base, letter, message_key, usable};
use super::pace::{Pace, Rates};
use super::review::Review;
use super::{Order, Post};
use crate::outbox::{DeliveryError, Mailer, Template};
use crate::store::invites::{self, Claimed, Due, Pause, Rendered, Sender};
use crate::store::leadership;

const COHORT_RATE: Rate = Rate { count: 30, seconds: 60 };
const PROGRAM_RATE: Rate = Rate { count: 600, seconds: 60 };
const DOMAIN_RATE: Rate = Rate { count: 120, seconds: 60 };
/// So many people of each cohort are looked at ahead: those whose domain has had enough for now wait while others go.
const AHEAD: i64 = 2_000;
/// Afterwards, whoever came since (a resent invite) gets in line.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(10);
/// Messages in one round at most; then new orders are looked at.
const AT_ONCE: usize = 500;
/// Pacing reads so many of what left lately after a restart.
const LATELY: i64 = 100_000;

/// What the sender of one program remembers between rounds. All of it can be had again from the database.
#[derive(Default)]
pub(super) struct Lane {
    mailer: Option<(String, Arc<Mailer>)>,
    pace: Option<Pace>,
    ahead: VecDeque<Due>,
    looked_at: Option<Timestamp>,
    /// Cohorts that turned out frozen or closed in this round.
    held: BTreeSet<String>,
    /// Of one revision.
    letters: Letters,
    revision: String,
    /// Until when nothing leaves, and why.
    paused: Option<(Option<Timestamp>, String)>,
    /// How often in a row the server was away or lost.
    troubles: u32,
    /// How many were refused in a row.
    refusals: u32,
    /// What has become of the batch so far.
    dispatched: u64,
    failed: u64,
    /// What was written down as reasons to wait.
    told: Option<Vec<Pause>>,
    pub(super) review: Review,
}

/// Templates by cohort and language, or why there is none.
type Letters = BTreeMap<(String, String), Result<Template, String>>;

/// What may leave now.
enum Pick {
    Next(Due),
    NotBefore(Timestamp),
    Nothing,
}

pub(super) fn good_for(program: &ProgramDesired, cohort: &str) -> Span {
    let rules = program.cohorts.get(cohort).and_then(|resource| resource.spec.invites.as_ref());
    rules.and_then(|rules| rules.expire_after).unwrap_or(USUAL_EXPIRY)
}

fn rates(program: &ProgramDesired, cohort: &str) -> Rates {
    let rules = program.cohorts.get(cohort).and_then(|resource| resource.spec.invites.as_ref());
    let mail = program.program.spec.mail.as_ref();
    Rates {
        program: mail.and_then(|mail| mail.rate).unwrap_or(PROGRAM_RATE),
        cohort: rules.and_then(|rules| rules.rate).unwrap_or(COHORT_RATE),
        domain: mail.and_then(|mail| mail.per_domain).unwrap_or(DOMAIN_RATE),
    }
}

fn usable_for<'a>(letters: &'a mut Letters, order: &Order, of: (&str, &str)) -> &'a Result<Template, String> {
    let letter = letters.entry((of.0.to_owned(), of.1.to_owned()));
    letter.or_insert_with(|| usable(&order.snapshot, &order.program, of))
}

impl Lane {
    /// Lets what may leave at this instant leave, up to a bound; says when to come again.
    pub(super) async fn round(&mut self, post: &Post, order: &Order) -> Result<Option<Timestamp>, ControllerError> {
        self.held.clear();
        let revision = &order.snapshot.revision.id;
        if self.revision != *revision {
            self.revision.clone_from(revision);
            self.letters.clear();
        }
        let next = match self.mailer(post, &order.program) {
            Ok(mailer) if mailer.sends() => self.send_all(post, order, &mailer).await,
            Ok(mailer) => {
                self.paused = None;
                self.review_all(post, order, &mailer).await
            }
            Err(reason) => {
                self.paused = Some((None, reason));
                Ok(None)
            }
        };
        self.tell(post, order).await?;
        next
    }

    /// The same one as long as nothing about it changes: its connection stays open.
    fn mailer(&mut self, post: &Post, program: &ProgramDesired) -> Result<Arc<Mailer>, String> {
        let (mailer, way) = post.way(program)?;
        if self.mailer.as_ref().is_none_or(|(known, _)| *known != way) {
            self.mailer = Some((way, Arc::new(mailer)));
            self.paused = None;
            self.troubles = 0;
        }
        self.mailer.as_ref().map(|(_, mailer)| mailer.clone()).ok_or_else(|| "there is no mailer".to_owned())
    }

    async fn send_all(
        &mut self,
        post: &Post,
        order: &Order,
        mailer: &Mailer,
    ) -> Result<Option<Timestamp>, ControllerError> {
        let now = post.clock.now();
        if let Some((Some(until), _)) = &self.paused
            && *until > now
        {
            return Ok(Some(*until));
        }
        self.paused = None;
        let stale = self.looked_at.is_none_or(|looked| looked.checked_add(LOOK_AGAIN).is_ok_and(|again| again <= now));
        let mut looked = false;
        if stale || self.ahead.is_empty() {
            self.look_ahead(post, order, now).await?;
            looked = true;
        }
        self.remember_pace(post, order, now).await?;
        let mut ready = false;
        for _ in 0..AT_ONCE {
            let now = post.clock.now();
            if post.is_ending() {
                return Ok(None);
            }
            let due = match self.pick(order, now) {
                Pick::Next(due) => due,
                Pick::NotBefore(at) => return Ok(Some(at)),
                Pick::Nothing if !looked => {
                    self.look_ahead(post, order, now).await?;
                    looked = true;
                    continue;
                }
                Pick::Nothing => {
                    self.end_batch(mailer, now);
                    return Ok(invites::next_mail_at(&post.store, order.program.name(), now).await?);
                }
            };
            if !ready && let Err(error) = mailer.ready().await {
                self.ahead.push_front(due);
                self.pause(error.to_string(), now);
                return Ok(self.paused.as_ref().and_then(|(until, _)| *until));
            }
            ready = true;
            looked = false;
            self.send(post, order, mailer, due).await?;
            if let Some((until, _)) = &self.paused {
                return Ok(*until);
            }
        }
        Ok(Some(post.clock.now()))
    }

    async fn look_ahead(&mut self, post: &Post, order: &Order, now: Timestamp) -> Result<(), ControllerError> {
        // A cohort that says nothing about invites sends none.
        let says = |cohort: &&String| {
            order.program.cohorts.get(*cohort).is_some_and(|resource| resource.spec.invites.is_some())
        };
        let sending: Vec<String> = order.open.iter().filter(says).cloned().collect();
        let found = invites::due_mails(&post.store, order.program.name(), &sending, AHEAD, now).await?;
        self.ahead = found.into();
        self.looked_at = Some(now);
        Ok(())
    }

    /// Pacing survives a restart: it goes on from what left lately.
    async fn remember_pace(&mut self, post: &Post, order: &Order, now: Timestamp) -> Result<(), ControllerError> {
        if self.pace.is_some() {
            return Ok(());
        }
        let program = &order.program;
        let all = order.open.iter().flat_map(|cohort| {
            let rates = rates(program, cohort);
            [rates.program, rates.cohort, rates.domain].map(|rate| rate.seconds)
        });
        let longest = SignedDuration::from_secs(all.max().unwrap_or(60).into());
        let since = now.checked_sub(longest).unwrap_or(Timestamp::MIN);
        let mut pace = Pace::default();
        for (at, cohort, domain) in invites::claimed_since(&post.store, program.name(), since, LATELY).await? {
            pace.take(&cohort, &domain, rates(program, &cohort), at);
        }
        self.pace = Some(pace);
        Ok(())
    }

    /// The first in line whose cohort and domain may get one now; those whose template can't be used don't stand in the way.
    fn pick(&mut self, order: &Order, now: Timestamp) -> Pick {
        let pace = self.pace.get_or_insert_default();
        if let Some(at) = pace.program_free_at().filter(|at| *at > now && !self.ahead.is_empty()) {
            return Pick::NotBefore(at);
        }
        let mut soonest: Option<Timestamp> = None;
        let mut index = 0;
        while let Some(due) = self.ahead.get(index) {
            let open = !self.held.contains(&due.cohort) && order.open.contains(&due.cohort);
            match pace.free_at(&due.cohort, &due.domain).filter(|at| *at > now) {
                Some(at) if open => {
                    soonest = Some(soonest.map_or(at, |soonest| soonest.min(at)));
                    index += 1;
                }
                _ => {
                    let Some(due) = self.ahead.remove(index) else { break };
                    if open && usable_for(&mut self.letters, order, (&due.cohort, &due.locale)).is_ok() {
                        return Pick::Next(due);
                    }
                }
            }
        }
        soonest.map_or(Pick::Nothing, Pick::NotBefore)
    }

    async fn send(&mut self, post: &Post, order: &Order, mailer: &Mailer, due: Due) -> Result<(), ControllerError> {
        let now = post.clock.now();
        let Some(Ok(template)) = self.letters.get(&(due.cohort.clone(), due.locale.clone())).cloned() else {
            return Ok(());
        };
        let expires_at = good_for(&order.program, &due.cohort).after(now);
        let key = message_key((due.id, due.generation));
        let sender = Sender { by: &post.holder, message_key: &key, expires_at };
        let mut tx = post.store.begin().await?;
        leadership::fence(&mut tx, post.epoch).await?;
        let claimed = invites::claim_mail(&mut tx, &post.keys, &due, sender, now).await?;
        tx.commit().await?;
        let (rendered, attempts) = match claimed {
            Claimed::Send { rendered, attempts } => (rendered, attempts),
            Claimed::Later => {
                self.held.insert(due.cohort);
                return Ok(());
            }
            Claimed::Overtaken | Claimed::Blocked(_) => return Ok(()),
        };
        // From here on until it is settled, nobody knows whether it left.
        self.pace.get_or_insert_default().take(&due.cohort, &due.domain, rates(&order.program, &due.cohort), now);
        let outcome = match mail_of(post, order, template, &rendered, now) {
            Some(mail) => mailer.deliver(&mail).await.map(|_| ()),
            None => Err(DeliveryError::Never { reason: "the invite has no address".to_owned() }),
        };
        self.settle(post, &due, attempts, outcome).await
    }

    /// A template of this cohort in this language that can be filled for everyone, or why there is none.
    pub(super) fn letter_for(&mut self, order: &Order, cohort: &str, locale: &str) -> Result<Template, String> {
        usable_for(&mut self.letters, order, (cohort, locale)).clone()
    }
}

/// The message of a rendered invite; none when it has no address.
pub(super) fn mail_of(
    post: &Post,
    order: &Order,
    template: Template,
    rendered: &Rendered,
    now: Timestamp,
) -> Option<crate::outbox::Mail> {
    let invite = &rendered.invite;
    let code = rendered.code.reveal();
    let to = Addressee {
        invite: (invite.id, invite.generation),
        cohort: &invite.cohort,
        email: invite.email.as_deref()?,
        code: &code,
        expires_at: invite.expires_at.unwrap_or(now),
    };
    let base = base(&order.program, post.here.as_deref());
    Some(letter(&order.program, template, &to, (&base, Some(&post.keys)), now))
}
