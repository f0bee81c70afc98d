//! Rollouts: what stages name, and what they may set.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Rules, is_variable, token};
use crate::resources::{Kind, Moment, Ramp, Stage, StageEvent, Window, WorkloadVersion};

impl Rules<'_> {
    pub(super) fn stages(&mut self) {
        let mut set_by: BTreeMap<&str, &str> = BTreeMap::new();
        let mut versioned_by: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, rollout) in &self.program.rollouts {
            let document = self.document(Kind::Rollout, name);
            let mut seen = BTreeSet::new();
            let mut before: Option<(&str, Moment)> = None;
            for (place, stage) in rollout.spec.stages.iter().enumerate() {
                let pointer = format!("/spec/stages/{place}");
                if !seen.insert(stage.name.as_str()) {
                    self.problem(
                        document,
                        &format!("{pointer}/name"),
                        format!("there is already a stage '{}' in this rollout", stage.name),
                    );
                }
                self.stage(name, stage, &pointer);
                if let Some(from) = stage.window.and_then(|window| window.from) {
                    if let Some((earlier, _)) = before.filter(|(_, moment)| precedes(from, *moment)) {
                        let message = format!("its window begins before that of '{earlier}', the stage before it");
                        self.problem(document, &format!("{pointer}/window/from"), message);
                    }
                    before = Some((&stage.name, from));
                }
                // A document that is there twice sets nothing twice.
                for key in stage.flags.keys().filter(|_| !self.documents.given(Kind::Rollout, name)) {
                    let other = set_by.entry(key).or_insert(name);
                    if other != name {
                        let message = format!(
                            "rollout '{other}' sets flag '{key}' already; two rollouts may not set the same flag"
                        );
                        self.problem(document, &format!("{pointer}/flags/{}", token(key)), message);
                    }
                }
                for workload in stage.workloads.keys().filter(|_| !self.documents.given(Kind::Rollout, name)) {
                    let other = versioned_by.entry(workload).or_insert(name);
                    if other != name {
                        let message = format!(
                            "rollout '{other}' gives workload '{workload}' a version already; two rollouts may not"
                        );
                        self.problem(document, &format!("{pointer}/workloads/{}", token(workload)), message);
                    }
                }
            }
        }
    }

    fn stage(&mut self, rollout: &str, stage: &Stage, pointer: &str) {
        let document = self.document(Kind::Rollout, rollout);
        if let Some((from, until)) = stage.window.and_then(|window| Some((window.from?, window.until?)))
            && precedes(until, from)
        {
            let message = format!("the window ends ({until}) before it begins ({from})");
            self.problem(document, &format!("{pointer}/window/until"), message);
        }
        for (place, cohort) in stage.cohorts.iter().enumerate() {
            self.resource(document, &format!("{pointer}/cohorts/{place}"), Kind::Cohort, cohort);
        }
        for (workload, version) in &stage.workloads {
            let at = format!("{pointer}/workloads/{}", token(workload));
            self.resource(document, &at, Kind::Workload, workload);
            self.version(rollout, version, &at);
        }
        for (key, flag) in &stage.flags {
            let pointer = format!("{pointer}/flags/{}", token(key));
            self.stage_flag(rollout, key, flag.variant(), &pointer);
            if let Some(ramp) = flag.ramp() {
                self.ramp(rollout, ramp, &pointer);
            }
        }
        self.tag(rollout, stage, pointer);
        self.announcements(rollout, stage, pointer);
        let Some(enter) = &stage.enter else { return };
        for (place, gate) in enter.gates.iter().enumerate() {
            let at = format!("{pointer}/enter/gates/{place}");
            self.resource(document, &format!("{at}/name"), Kind::Gate, &gate.name);
            let reviewed = self.program.gates.get(&gate.name).is_none_or(|gate| gate.spec.review.is_some());
            let doubtful = self.documents.doubtful(Kind::Gate, &gate.name, "/spec/review");
            self.phases_read(document, &at, &gate.name, &gate.phases);
            if gate.passes.is_some() && !gate.phases.is_empty() {
                let message = "a review seals the whole gate: read phases live, without passes";
                self.problem(document, &format!("{at}/phases"), message);
            }
            if gate.passes.is_some() && !reviewed && !doubtful {
                self.problem(document, &format!("{at}/passes"), format!("gate '{}' has no review to pass", gate.name));
            }
        }
        for (place, person) in enter.signoffs.iter().flat_map(|signoffs| signoffs.from.iter().enumerate()) {
            self.person(document, &format!("{pointer}/enter/signoffs/from/{place}"), person);
        }
    }

    fn version(&mut self, rollout: &str, version: &WorkloadVersion, at: &str) {
        let document = self.document(Kind::Rollout, rollout);
        let no_image =
            version.image.as_ref().is_some_and(|image| image.is_empty() || image.contains(char::is_whitespace));
        if version.is_empty() || no_image {
            self.problem(document, at, "it needs an image, a command or settings");
        }
        if version.command.as_ref().is_some_and(Vec::is_empty) {
            self.problem(document, &format!("{at}/command"), "the command is empty");
        }
        for (variable, value) in &version.env {
            let at = format!("{at}/env/{}", token(variable));
            if !is_variable(variable) {
                self.problem(document, &at, format!("'{variable}' is no name for an environment variable"));
            } else if matches!(value, Value::Object(_) | Value::Array(_) | Value::Null) {
                self.problem(document, &at, "a setting is a string, a number or a boolean");
            }
        }
    }

    fn tag(&mut self, rollout: &str, stage: &Stage, pointer: &str) {
        let Some(tag) = &stage.tag else { return };
        let document = self.document(Kind::Rollout, rollout);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '+');
        let odd = tag.name.is_empty() || !tag.name.chars().all(plain) || tag.name.starts_with(['-', '/', '.']);
        let refused = [".lock", "/", "."].iter().any(|end| tag.name.ends_with(end));
        if odd || refused || tag.name.contains("..") || tag.name.contains("//") {
            let message = format!("'{}' is no name that Git takes for a tag, such as v2.0.0-public", tag.name);
            self.problem(document, &format!("{pointer}/tag/name"), message);
        }
        let all = self
            .program
            .rollouts
            .iter()
            .flat_map(|(name, other)| other.spec.stages.iter().map(move |stage| (name, stage)));
        let mut same = all.filter(|(_, other)| other.tag.as_ref().is_some_and(|other| other.name == tag.name));
        if let Some((first, other)) = same.next().filter(|(first, other)| *first != rollout || other.name != stage.name)
        {
            let message = format!("tag {} is made by stage {} of rollout {first} already", tag.name, other.name);
            self.problem(document, &format!("{pointer}/tag/name"), message);
        }
        if tag.at.as_ref().is_some_and(|at| at.len() != 5 || at.parse::<jiff::civil::Time>().is_err()) {
            self.problem(document, &format!("{pointer}/tag/at"), "a time of day, such as \"09:00\"");
        }
    }

    fn ramp(&mut self, rollout: &str, ramp: &Ramp, pointer: &str) {
        let document = self.document(Kind::Rollout, rollout);
        let at = format!("{pointer}/percent");
        if ramp.percent.is_empty() || ramp.percent.iter().any(|percent| !(1..=100).contains(percent)) {
            self.problem(document, &at, "it needs shares from 1 to 100, in per cent");
        } else if !ramp.percent.windows(2).all(|pair| pair[0] < pair[1]) {
            self.problem(
                document,
                &at,
                "each share must be larger than the one before it: a stage never goes back by itself",
            );
        }
        self.lasting(document, &format!("{pointer}/every"), Some(ramp.every));
        if let Some(gate) = &ramp.gate {
            self.resource(document, &format!("{pointer}/gate"), Kind::Gate, gate);
        }
    }

    /// Where announcements go, and whether their moment can be known.
    fn announcements(&mut self, rollout: &str, stage: &Stage, pointer: &str) {
        let document = self.document(Kind::Rollout, rollout);
        for (place, announcement) in stage.announce.iter().enumerate() {
            let at = format!("{pointer}/announce/{place}");
            self.template(document, &format!("{at}/template"), &announcement.template);
            if !self.doubted("/spec/channels") {
                let channels: Vec<&str> = self.program.program.spec.channels.keys().map(String::as_str).collect();
                for (number, channel) in announcement.to.iter().enumerate() {
                    self.known(document, &format!("{at}/to/{number}"), "channel", channel, channels.iter().copied());
                }
            }
            let window = stage.window.unwrap_or(Window { from: None, until: None });
            let missing = match announcement.event {
                StageEvent::Window => window.from.is_none().then_some("the stage has no window that begins"),
                StageEvent::Overdue => window.until.is_none().then_some("the stage has no window that ends"),
                StageEvent::Opened | StageEvent::NoGo => None,
            };
            if let Some(message) = missing {
                self.problem(document, &format!("{at}/event"), message);
            }
            match announcement.at {
                None => {}
                Some(Moment::Relative(by)) if by.is_negative() && announcement.event != StageEvent::Window => {
                    let message = "only the beginning of a window is known before it comes: say `event: window`";
                    self.problem(document, &format!("{at}/at"), message);
                }
                Some(Moment::Relative(_)) => {}
                Some(_) => self.problem(document, &format!("{at}/at"), "it counts from what happens: -24h, +1h"),
            }
        }
    }

    fn stage_flag(&mut self, rollout: &str, key: &str, variant: &str, pointer: &str) {
        let document = self.document(Kind::Rollout, rollout);
        if !self.resource(document, pointer, Kind::Flag, key) {
            return;
        }
        let Some(flag) = self.program.flags.get(key) else { return };
        if self.documents.doubtful(Kind::Flag, &flag.name, "/spec/variants") {
            return;
        }
        if !self.known(document, pointer, "variant", variant, flag.spec.variants.keys().map(String::as_str)) {
            return;
        }
        let invariant = self.program.program.spec.invariants.iter().find(|invariant| invariant.flag == key);
        if invariant.is_some_and(|invariant| flag.spec.variants.get(variant) != Some(&invariant.is)) {
            self.problem(document, pointer, format!("the program's invariant for '{key}' forbids it"));
        }
    }
}

/// Whether a moment certainly comes before another; unknown for two that are written in different ways.
fn precedes(one: Moment, other: Moment) -> bool {
    match (one, other) {
        (Moment::Relative(one), Moment::Relative(other)) => one < other,
        (Moment::Date(one), Moment::Date(other)) => one < other,
        (Moment::Civil(one), Moment::Civil(other)) => one < other,
        (Moment::Instant(one), Moment::Instant(other)) => one < other,
        _ => false,
    }
}
