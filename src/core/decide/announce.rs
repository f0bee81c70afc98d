//! Announcements: notes from templates about a stage, before, at and after what happens to it (seed 003, "Communication plan").
//!
//! Must not know: how a note leaves.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{Message, MessageKind, pass::Pass};
use crate::resources::{Announcement, Edge, Moment, RolloutSpec, Says, SignoffSpec, Stage, StageEvent, USUAL_EXPIRY};

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
                let mut taken = BTreeSet::new();
                for announcement in &stage.announce {
                    let keys = keys(announcement, &mut taken);
                    if let Some(happening) = self.happening(name, &rollout.spec, stage, announcement) {
                        self.announce(name, stage, (announcement, keys), &happening);
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
                let about = |spec: &SignoffSpec| spec.says == Says::NoGo && spec.is_vote_on(rollout, &stage.name);
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

    fn announce(
        &mut self,
        rollout: &str,
        stage: &Stage,
        (of, keys): (&Announcement, BTreeMap<String, String>),
        what: &Happening,
    ) {
        let by = match of.at {
            Some(Moment::Relative(by)) => by,
            _ => SignedDuration::ZERO,
        };
        let due = what.at.checked_add(by).unwrap_or(Timestamp::MAX);
        self.look_again(due);
        if self.now < due {
            return;
        }
        let key = |key: &String| format!("{}/{key}{}", stage.name, what.key);
        let known = self.memory.rollouts.get(rollout).map(|memory| &memory.announced);
        let fresh = |key: &String| known.is_none_or(|known| !known.contains(key));
        let keys = keys.iter().map(|(channel, own)| (channel.clone(), key(own))).filter(|(_, key)| fresh(key));
        let keys: BTreeMap<String, String> = keys.collect();
        if keys.is_empty() {
            return;
        }
        // What is told before a window says that the stage will open: nobody is told so while it will not.
        let ahead = of.event == StageEvent::Window && by.is_negative();
        let too_late = ahead && self.now >= what.at;
        if ahead && !too_late && (self.run_in_force().is_some() || !self.readings.stops.is_empty()) {
            self.look_again(what.at);
            return;
        }
        self.memory.rollouts.entry(rollout.to_owned()).or_default().announced.extend(keys.values().cloned());
        if too_late {
            let text =
                format!("announcement {} of stage {} was due at {due}, before its window", of.template, stage.name);
            self.event(format!("Rollout/{rollout}"), "AnnouncementMissed", text);
            return;
        }
        self.event(
            format!("Rollout/{rollout}"),
            "Announced",
            format!("stage {}: {} to {}", stage.name, of.template, keys.keys().cloned().collect::<Vec<_>>().join(", ")),
        );
        let variables = self.filled(rollout, stage, of, what);
        for (channel, key) in keys {
            let effect_key = format!("{}/rollout/{rollout}/{key}/announce", self.program.name());
            let template = of.template.clone();
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
        let expiry = expire.unwrap_or(USUAL_EXPIRY).after(opened.unwrap_or(what.at));
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

/// What makes an announcement the same one to each of its channels, wherever it stands in the list: what it is about, when, and its template. The second of two
/// that are alike in all of that gets a number.
fn keys(of: &Announcement, taken: &mut BTreeSet<String>) -> BTreeMap<String, String> {
    let event = match of.event {
        StageEvent::Window => "window",
        StageEvent::Opened => "opened",
        StageEvent::Overdue => "overdue",
        StageEvent::NoGo => "noGo",
    };
    let moment = match of.at {
        Some(Moment::Relative(by)) if !by.is_zero() => format!("{:+}s", by.as_secs()),
        _ => String::new(),
    };
    let of_channel = |channel: &String| {
        let alike = format!("{event}{moment}/{}/{channel}", of.template);
        let numbered = (2..).map(|number| format!("{alike}#{number}"));
        let key = std::iter::once(alike.clone()).chain(numbered).find(|key| taken.insert(key.clone()));
        (channel.clone(), key.unwrap_or(alike))
    };
    of.to.iter().map(of_channel).collect()
}
