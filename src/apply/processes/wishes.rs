//! Changes of the desired set: what a supervisor is asked for, checked and written down for the keeper to carry out.
//!
//! Must not know: processes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ProcessError;
use super::keeper::State;
use super::roll::Workload;
use super::spec::{Listens, ProcessSpec};
use super::supervisor::Order;

impl State {
    /// Does what is asked for, and answers.
    pub(super) fn obey(&mut self, order: Order) {
        // Who asked may have gone; what was asked is done all the same.
        match order {
            Order::Desired(specs, reply) => drop(reply.send(self.desire(specs))),
            Order::Scale(name, replicas, reply) => drop(reply.send(self.change(&name, |spec| {
                spec.replicas = replicas;
            }))),
            Order::Restart(name, replica, reply) => drop(reply.send(self.restart(&name, replica))),
            Order::Revert(name, revision, reply) => drop(reply.send(self.revert(&name, revision))),
            Order::Revisions(name, reply) => drop(reply.send(self.revisions(&name))),
            Order::Remember(earlier, proven, reply) => drop(reply.send({
                self.remember(earlier);
                if let Some(proven) = proven {
                    self.workloads.entry(proven.workload.clone()).or_default().proven.get_or_insert(Arc::new(proven));
                }
                Ok(())
            })),
            Order::Shutdown(reply) => {
                self.workloads.values_mut().for_each(|workload| workload.want(None));
                self.leaving.push(reply);
            }
        }
    }

    fn desire(&mut self, specs: Vec<ProcessSpec>) -> Result<(), ProcessError> {
        if !self.leaving.is_empty() {
            return Err(ProcessError::Stopped);
        }
        let mut wanted = BTreeMap::new();
        for spec in specs {
            self.check(&spec)?;
            let workload = spec.workload.clone();
            if wanted.insert(workload.clone(), Arc::new(spec)).is_some() {
                return Err(ProcessError::BadSpec { workload, problem: "it is given twice".into() });
            }
        }
        for (name, workload) in &mut self.workloads {
            if !wanted.contains_key(name) {
                workload.want(None);
            }
        }
        for (name, spec) in wanted {
            self.workloads.entry(name).or_default().want(Some(spec));
        }
        Ok(())
    }

    fn check(&self, spec: &ProcessSpec) -> Result<(), ProcessError> {
        if spec.listens == Listens::Shared && self.options.listener.is_none() {
            let problem = "it listens on the shared socket, and there is none".into();
            return Err(ProcessError::BadSpec { workload: spec.workload.clone(), problem });
        }
        spec.check()
    }

    fn workload(&mut self, name: &str) -> Result<(&mut Workload, Arc<ProcessSpec>), ProcessError> {
        let workload = self.workloads.get_mut(name);
        let found = workload.and_then(|w| w.spec.clone().map(|spec| (w, spec)));
        found.ok_or_else(|| ProcessError::UnknownWorkload(name.to_owned()))
    }

    fn change(&mut self, name: &str, how: impl FnOnce(&mut ProcessSpec)) -> Result<(), ProcessError> {
        let mut spec = ProcessSpec::clone(&self.workload(name)?.1);
        how(&mut spec);
        self.check(&spec)?;
        self.workload(name)?.0.want(Some(Arc::new(spec)));
        Ok(())
    }

    fn restart(&mut self, name: &str, replica: Option<u32>) -> Result<(), ProcessError> {
        self.workload(name)?.0.restart(replica);
        Ok(())
    }

    fn revert(&mut self, name: &str, revision: Option<String>) -> Result<String, ProcessError> {
        let (workload, now) = self.workload(name)?;
        let fits = |kept: &&Arc<ProcessSpec>| match &revision {
            Some(revision) => kept.revision == *revision,
            None => kept.revision != now.revision,
        };
        let Some(found) = workload.history.iter().rev().find(fits) else {
            let wanted = revision.unwrap_or_else(|| "at all".into());
            return Err(ProcessError::UnknownRevision { workload: name.to_owned(), wanted });
        };
        // The revision says what runs, not how often.
        let back = ProcessSpec { replicas: now.replicas, ..ProcessSpec::clone(found) };
        let revision = back.revision.clone();
        workload.want(Some(Arc::new(back)));
        Ok(revision)
    }

    fn revisions(&mut self, name: &str) -> Result<Vec<ProcessSpec>, ProcessError> {
        let (workload, now) = self.workload(name)?;
        let earlier = workload.history.iter().filter(|kept| kept.revision != now.revision);
        Ok(earlier.chain(std::iter::once(&now)).map(|spec| ProcessSpec::clone(spec)).collect())
    }

    fn remember(&mut self, earlier: Vec<ProcessSpec>) {
        for spec in earlier {
            let history = &mut self.workloads.entry(spec.workload.clone()).or_default().history;
            if history.iter().all(|kept| kept.revision != spec.revision) {
                history.push(Arc::new(spec));
            }
        }
    }
}
