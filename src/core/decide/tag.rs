//! Tags that stages ask for in the repository of the documents (seed 004: after a GO the tag of the release is made the next morning).
//!
//! Must not know: how a tag is made.

use jiff::{Timestamp, ToSpan as _, civil::Time};

use super::{Message, MessageKind, TagMemory, pass::Pass};
use crate::resources::{Edge, RolloutSpec, Stage};

impl Pass<'_> {
    /// A stage opened: its tag is due at the next time of day that it names.
    pub(super) fn schedule_tag(&mut self, rollout: &str, stage: &Stage) {
        let Some(tag) = &stage.tag else { return };
        let at = tag.at.as_ref().and_then(|at| at.parse::<Time>().ok()).map_or(self.now, |at| self.next_time(at));
        let revision = self.revision.id.clone();
        let text = format!("stage {}: tag {} on {revision} is made at {at}", stage.name, tag.name);
        self.event(format!("Rollout/{rollout}"), "TagScheduled", text);
        let known = TagMemory { name: tag.name.clone(), revision, at, asked: false };
        self.memory.rollouts.entry(rollout.to_owned()).or_default().tags.insert(stage.name.clone(), known);
    }

    fn next_time(&self, time: Time) -> Timestamp {
        let here = self.now.to_zoned(self.zone.clone());
        let on = |days: i64| {
            let date = here.date().checked_add(days.days()).ok()?;
            Some(date.to_datetime(time).to_zoned(self.zone.clone()).ok()?.timestamp())
        };
        (0..=1).filter_map(on).find(|at| *at > self.now).unwrap_or(self.now)
    }

    /// Asks for the tags whose time has come. Like every advance, none is made while a rollback is in force, the line is stopped, or the rollout suspended.
    pub(super) fn tags(&mut self, rollout: &str, spec: &RolloutSpec) {
        let suspend = spec.suspend.as_ref().or(self.program.program.spec.suspend.as_ref());
        let suspended = suspend.is_some_and(|suspend| self.now < self.resolve(suspend.until, Edge::End));
        let stopped = suspended || self.run_in_force().is_some() || !self.readings.stops.is_empty();
        let known = self.memory.rollouts.get(rollout).map(|memory| memory.tags.clone()).unwrap_or_default();
        for (stage, tag) in known.into_iter().filter(|(_, tag)| !tag.asked) {
            self.look_again(tag.at);
            if stopped || self.now < tag.at {
                continue;
            }
            let message = format!("{} of {}: stage {stage} is open", tag.name, self.program.name());
            let effect_key = format!("{}/rollout/{rollout}/{stage}/tag/{}", self.program.name(), tag.name);
            let what = MessageKind::Tag { name: tag.name.clone(), revision: tag.revision, message };
            self.messages.push(Message { effect_key, what, deadline: None });
            self.event(format!("Rollout/{rollout}"), "TagAsked", format!("stage {stage}: tag {}", tag.name));
            if let Some(tag) = self.memory.rollouts.get_mut(rollout).and_then(|memory| memory.tags.get_mut(&stage)) {
                tag.asked = true;
            }
        }
    }

    /// Tags to come, in a line.
    pub(super) fn tags_summary(&self, rollout: &str) -> String {
        let tags = self.memory.rollouts.get(rollout).into_iter().flat_map(|memory| memory.tags.values());
        let tags = tags.filter(|tag| !tag.asked).map(|tag| format!("; tag {} at {}", tag.name, tag.at));
        tags.collect()
    }
}
