//! Shares of people that grow while a stage is open. A share never shrinks by itself, does not grow while a rollback is in force, its rollout is suspended or the
//! line stopped, or
//! while its gate says anything but Pass (what is not known is no Pass).
//!
//! Must not know: how a person is picked.

use super::{RampMemory, Verdict, Wait, pass::Pass, stage::current};
use crate::resources::{Edge, Ramp, RolloutSpec};

impl Pass<'_> {
    /// Lets the shares of the open stage grow.
    pub(super) fn ramps(&mut self, rollout: &str, spec: &RolloutSpec) {
        let stage = current(self.memory.rollouts.get(rollout), spec).cloned();
        let Some(memory) = self.memory.rollouts.get_mut(rollout) else { return };
        let Some(stage) = stage else { return memory.ramps.clear() };
        memory
            .ramps
            .retain(|key, ramp| ramp.stage == stage.name && stage.flags.get(key).is_some_and(|f| f.ramp().is_some()));
        let opened = memory.opened.get(&stage.name).copied().unwrap_or(self.now);
        for (key, ramp) in stage.flags.iter().filter_map(|(key, flag)| Some((key, flag.ramp()?))) {
            let fresh = RampMemory { stage: stage.name.clone(), place: 0, since: opened, stopped: false };
            let known = self.memory.rollouts.get(rollout).and_then(|memory| memory.ramps.get(key)).cloned();
            let mut at = known.unwrap_or(fresh);
            self.grow(rollout, spec, (key, ramp), &mut at);
            if let Some(memory) = self.memory.rollouts.get_mut(rollout) {
                memory.ramps.insert(key.clone(), at);
            }
        }
    }

    fn grow(&mut self, rollout: &str, spec: &RolloutSpec, (key, ramp): (&str, &Ramp), at: &mut RampMemory) {
        let suspend = spec.suspend.as_ref().or(self.program.program.spec.suspend.as_ref());
        let suspended = suspend.is_some_and(|suspend| self.now < self.resolve(suspend.until, Edge::End));
        let stopped = self.run_in_force().is_some() || suspended || !self.readings.stops.is_empty();
        if at.stopped && !stopped {
            at.since = self.now;
        }
        at.stopped = stopped;
        let Some(next) = ramp.percent.get(at.place + 1) else { return };
        let due = ramp.every.after(at.since);
        self.look_again(due);
        if stopped || self.now < due || self.gate_keeps_back(ramp).is_some() {
            return;
        }
        let before = ramp.percent.get(at.place).copied().unwrap_or_default();
        self.event(format!("Rollout/{rollout}"), "ShareGrew", format!("flag {key}: {before} % → {next} %"));
        at.place += 1;
        at.since = self.now;
        self.look_again(ramp.every.after(self.now));
    }

    fn gate_keeps_back(&self, ramp: &Ramp) -> Option<Wait> {
        let gate = ramp.gate.as_ref()?;
        match self.verdict(gate) {
            Verdict::Pass | Verdict::Conditional => None,
            verdict => {
                Some(Wait { on: format!("gate {gate} is {verdict}"), from: format!("betagate why gate/{gate}") })
            }
        }
    }

    /// The share of people, in per cent, that a stage gives its variant now.
    pub(super) fn share(&self, rollout: &str, stage: &str, key: &str, ramp: &Ramp) -> u8 {
        let known = self.memory.rollouts.get(rollout).and_then(|memory| memory.ramps.get(key));
        let place = known.filter(|known| known.stage == stage).map_or(0, |known| known.place);
        ramp.percent.get(place).or(ramp.percent.last()).copied().unwrap_or_default()
    }

    /// What the shares of the open stage wait for.
    pub(super) fn ramp_waits(&self, rollout: &str, spec: &RolloutSpec) -> Vec<Wait> {
        let memory = self.memory.rollouts.get(rollout);
        let Some(stage) = current(memory, spec) else { return Vec::new() };
        let ramps = stage.flags.iter().filter_map(|(key, flag)| Some((key, flag.ramp()?)));
        ramps
            .filter_map(|(key, ramp)| {
                let at = memory?.ramps.get(key)?;
                let (now, next) = (ramp.percent.get(at.place)?, ramp.percent.get(at.place + 1)?);
                let what = format!("flag {key} grows from {now} % to {next} %");
                Some(match self.gate_keeps_back(ramp) {
                    _ if at.stopped => Wait { on: what, from: "what stops the rollout, then time".to_owned() },
                    Some(gate) if self.now >= ramp.every.after(at.since) => {
                        Wait { on: format!("{what}: {}", gate.on), from: gate.from }
                    }
                    _ => Wait { on: format!("{what} at {}", ramp.every.after(at.since)), from: "time".to_owned() },
                })
            })
            .collect()
    }
}
