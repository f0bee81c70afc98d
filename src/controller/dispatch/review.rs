//! The dry run: invites are rendered and written out as files, and a summary says how many, in which languages, to which domains, and which
//! would be refused and why. Nothing leaves.
//!
//! Must not know: how mail leaves.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::super::ControllerError;
use super::invites::{Lane, good_for, mail_of};
use super::letters::message_key;
use super::{Order, Post};
use crate::outbox::Mailer;
use crate::store::invites::{self, Rendered, Sender};
use crate::store::leadership;

/// So many are rendered in one transaction; nothing leaves, so it is not paced.
const AT_ONCE: i64 = 500;
/// Refused ones that are named in the summary.
const NAMED: usize = 200;
/// Domains that are named in the summary.
const DOMAINS: usize = 30;

/// What the dry run has refused since this controller began.
#[derive(Default)]
pub(super) struct Review {
    refused: BTreeMap<String, String>,
    refused_in_all: u64,
}

impl Lane {
    /// Renders what has not been rendered yet; says when to come again.
    pub(super) async fn review_all(
        &mut self,
        post: &Post,
        order: &Order,
        mailer: &Mailer,
    ) -> Result<Option<Timestamp>, ControllerError> {
        let now = post.clock.now();
        let (mut written, mut more) = (false, false);
        for cohort in &order.open {
            let Some(taken) = self.review_some(post, order, mailer, cohort).await? else { continue };
            written |= taken > 0;
            more |= taken == AT_ONCE;
        }
        if written && !more {
            let summary = self.summary(post, order).await?;
            if let Err(error) = mailer.write_review(order.program.name(), &summary) {
                tracing::warn!(error = %error, "the summary of the dry run could not be written");
            }
        }
        Ok(more.then_some(now))
    }

    /// Some invites of one cohort. They are taken when all are written: after a crash the same files are written again, and none is missing.
    /// None when they wait: for a template, or for room on the disk.
    async fn review_some(
        &mut self,
        post: &Post,
        order: &Order,
        mailer: &Mailer,
        cohort: &str,
    ) -> Result<Option<i64>, ControllerError> {
        if order.program.cohorts.get(cohort).is_none_or(|resource| resource.spec.invites.is_none()) {
            return Ok(None);
        }
        let now = post.clock.now();
        let expires = good_for(&order.program, cohort).after(now);
        let mut tx = post.store.begin().await?;
        leadership::fence(&mut tx, post.epoch).await?;
        let at = (order.program.name(), cohort);
        let taken = invites::take_to_render(&mut tx, &post.keys, at, AT_ONCE, expires, now).await?;
        let (mut written, mut failed) = (0, 0);
        for rendered in &taken {
            let Ok(template) = self.letter_for(order, cohort, &rendered.invite.locale) else { return Ok(None) };
            let email = rendered.invite.email.clone().unwrap_or_default();
            if let Some(block) = invites::blocked(&mut tx, &post.keys, order.program.name(), &email).await? {
                let key = message_key((rendered.invite.id, rendered.invite.generation));
                let sender = Sender { by: &post.holder, message_key: &key, expires_at: expires };
                invites::note_blocked(&mut tx, &rendered.invite, block, sender, now).await?;
                self.refuse(rendered, block.as_str());
                failed += 1;
                continue;
            }
            let Some(mail) = mail_of(post, order, template, rendered, now) else { continue };
            match mailer.deliver(&mail).await {
                Ok(_) => written += 1,
                Err(error) if error.retryable() => {
                    tracing::warn!(error = %error, "invites can't be written out; they wait");
                    return Ok(None);
                }
                Err(error) => {
                    failed += 1;
                    self.refuse(rendered, &error.to_string());
                }
            }
        }
        tx.commit().await?;
        if written + failed > 0 {
            tracing::info!(cohort, written, failed, "rendered invites for review");
            if let Err(error) = mailer.end_batch(now, written, failed) {
                tracing::warn!(error = %error, "the dispatch log could not be written");
            }
        }
        Ok(Some(i64::try_from(taken.len()).unwrap_or(AT_ONCE)))
    }

    fn refuse(&mut self, rendered: &Rendered, why: &str) {
        self.review.refused_in_all += 1;
        if self.review.refused.len() < NAMED {
            let who = rendered.invite.email.clone().unwrap_or_else(|| rendered.invite.id.to_string());
            self.review.refused.insert(format!("{who} ({})", rendered.invite.cohort), why.to_owned());
        }
    }

    /// What a person reads before sending is switched on. Only for the owner of the data folder: it names addresses.
    async fn summary(&self, post: &Post, order: &Order) -> Result<String, ControllerError> {
        let counts = invites::review_counts(&post.store, order.program.name()).await?;
        let mut by: [BTreeMap<String, i64>; 3] = Default::default();
        for count in &counts {
            let locale = if count.locale.is_empty() { "(none)" } else { &count.locale };
            for (map, key) in by.iter_mut().zip([count.cohort.as_str(), locale, &count.domain]) {
                *map.entry(key.to_owned()).or_default() += count.invites;
            }
        }
        let all: i64 = counts.iter().map(|count| count.invites).sum();
        let mut text = format!(
            "{}: {all} message(s) written out for review at {}; nothing has left.\n",
            order.program.name(),
            post.clock.now()
        );
        for (title, map) in ["By cohort", "By language", "By receiving domain"].into_iter().zip(&by) {
            let mut lines: Vec<_> = map.iter().collect();
            lines.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            text.push_str(&format!("\n{title}:\n"));
            for (name, count) in lines.iter().take(DOMAINS) {
                text.push_str(&format!("  {count:>8}  {name}\n"));
            }
            if lines.len() > DOMAINS {
                let rest: i64 = lines[DOMAINS..].iter().map(|(_, count)| **count).sum();
                text.push_str(&format!("  {rest:>8}  in {} others\n", lines.len() - DOMAINS));
            }
        }
        text.push_str(&format!("\nRefused: {}\n", self.review.refused_in_all));
        for (who, why) in &self.review.refused {
            text.push_str(&format!("  {who}: {why}\n"));
        }
        Ok(text)
    }
}
