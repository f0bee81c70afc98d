//! Announcements: notes from templates about a stage, before, at and after what happens to it (seed 003, "Communication plan").
//!
//! Must not know: how a note leaves.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{Message, MessageKind, pass::Pass};
use crate::resources::{Announcement, Edge, Moment, RolloutSpec, Says, SignoffSpec, Span, Stage, StageEvent};

/// How long an invite stays good when its cohort does not say.
const EXPIRE_AFTER: Span = Span::seconds(14 * 24 * 3600);

/// What an announcement is about.
struct Happening {
    /// When it happens, or happened.
    at: Timestamp,
    /// Makes one such happening another than the one before it.
    key: String,
    /// Why, of a NO-GO.
    reason: String,
}

impl Pass<'_> {
    /// Sends what is due, each once.
    pub fn announcements(&mut self) {
        let program = self.program;
        for (name, rollout) in &program.rollouts {
            for stage in &rollout.spec.stages {
                for (place, announcement) in stage.announce.iter().enumerate() {
                    if let Some(happening) = self.happening(name, &rollout.spec, stage, announcement) {
                        self.announce(name, stage, (place, announcement), &happening);
                    }
                }
            }
        }
    }

    fn happening(&self, rollout: &str, spec: &RolloutSpec, stage: &Stage, of: &Announcement) -> Option<Happening> {
        let once = |at: Timestamp| Happening { at, key: String::new(), reason: String::new() };
        let opened = self.memory.rollouts.get(rollout).and_then(|memory| memory.opened.get(&stage.name)).copied();
        let is_next = self.next_stage(rollout, spec).is_some_and(|next| next.name == stage.name);
        match of.event {
            StageEvent::Opened => opened.map(once),
            StageEvent::Window => stage.window?.from.map(|from| once(self.resolve(from, Edge::Start))),
            StageEvent::Overdue if is_next => {
                let until = self.resolve(stage.window?.until?, Edge::End);
                (self.now >= until).then(|| once(until))
            }
            StageEvent::NoGo if is_next => {
                let about = |spec: &SignoffSpec| {
                    spec.says == Says::NoGo
                        && spec.rollout.as_deref() == Some(rollout)
                        && spec.stage.as_deref() == Some(stage.name.as_str())
                };
                let since = self.memory.rollouts.get(rollout).and_then(|memory| memory.next_since);
                let words =
                    self.words(about).into_iter().filter(|word| since.is_none_or(|since| word.first_seen >= since));
                let newest = words.max_by_key(|word| word.first_seen)?;
                let reason = newest.spec.note.clone().unwrap_or_default();
                Some(Happening { at: newest.first_seen, key: format!("/{}", newest.name), reason })
            }
            StageEvent::Overdue | StageEvent::NoGo => None,
        }
    }

    fn announce(&mut self, rollout: &str, stage: &Stage, (place, of): (usize, &Announcement), what: &Happening) {
        let by = match of.at {
            Some(Moment::Relative(by)) => by,
            _ => SignedDuration::ZERO,
        };
        let due = what.at.checked_add(by).unwrap_or(Timestamp::MAX);
        let key = format!("{}/{place}{}", stage.name, what.key);
        let known = self.memory.rollouts.get(rollout).is_some_and(|memory| memory.announced.contains(&key));
        self.look_again(due);
        if known || self.now < due {
            return;
        }
        // What is told before a window says that the stage will open: nobody is told so while it will not.
        let ahead = of.event == StageEvent::Window && by.is_negative();
        let too_late = ahead && self.now >= what.at;
        if ahead && !too_late && (self.run_in_force().is_some() || !self.readings.stops.is_empty()) {
            self.look_again(what.at);
            return;
        }
        self.memory.rollouts.entry(rollout.to_owned()).or_default().announced.insert(key.clone());
        if too_late {
            let text =
                format!("announcement {} of stage {} was due at {due}, before its window", place + 1, stage.name);
            self.event(format!("Rollout/{rollout}"), "AnnouncementMissed", text);
            return;
        }
        self.event(
            format!("Rollout/{rollout}"),
            "Announced",
            format!("stage {}: {} to {}", stage.name, of.template, of.to.join(", ")),
        );
        let variables = self.filled(rollout, stage, of, what);
        for channel in &of.to {
            let effect_key = format!("{}/rollout/{rollout}/{key}/announce/{channel}", self.program.name());
            let (channel, template) = (channel.clone(), of.template.clone());
            let what = MessageKind::Note { channel, template, variables: variables.clone(), drill: false };
            self.messages.push(Message { effect_key, what, deadline: None });
        }
    }

    fn filled(&self, rollout: &str, stage: &Stage, of: &Announcement, what: &Happening) -> BTreeMap<String, String> {
        let local = |at: Timestamp| at.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M %Z").to_string();
        let window =
            |edge: Edge, moment: Option<Moment>| moment.map_or_else(String::new, |at| local(self.resolve(at, edge)));
        let opened = self.memory.rollouts.get(rollout).and_then(|memory| memory.opened.get(&stage.name)).copied();
        let opens = opened.map_or_else(|| window(Edge::Start, stage.window.and_then(|window| window.from)), local);
        let expire = stage.cohorts.iter().filter_map(|name| self.program.cohorts.get(name));
        let expire = expire.filter_map(|cohort| cohort.spec.invites.as_ref()?.expire_after).min();
        let expiry = expire.unwrap_or(EXPIRE_AFTER).after(opened.unwrap_or(what.at));
        let mut variables = of.variables.clone();
        for (name, value) in [
            ("program", self.program.name().to_owned()),
            ("rollout", rollout.to_owned()),
            ("stage", stage.name.clone()),
            ("cohort", stage.cohorts.join(", ")),
            ("opens", opens),
            ("closes", window(Edge::End, stage.window.and_then(|window| window.until))),
            ("expiry", local(expiry)),
            ("reason", what.reason.clone()),
            ("feedback_url", self.program.program.spec.feedback_url.clone().unwrap_or_default()),
        ] {
            variables.entry(name.to_owned()).or_insert(value);
        }
        variables
    }
}
