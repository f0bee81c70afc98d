//! The further steps of rollback plans: what they name must be there, and able to do what is asked.

use super::Rules;
use crate::desired::parse::Document;
use crate::resources::{Action, CallWebhook, Component, Kind, Names};

impl Rules<'_> {
    pub(super) fn further_step(&mut self, plan: &str, action: Action<'_>, pointer: &str) {
        let document = self.document(Kind::RollbackPlan, plan);
        match action {
            Action::RevokeInvites(revoke) => {
                self.cohorts_of(document, &format!("{pointer}/revokeInvites/cohorts"), &revoke.cohorts);
            }
            Action::ScaleWorkload(scale) => {
                let pointer = format!("{pointer}/scaleWorkload");
                if self.resource(document, &format!("{pointer}/workload"), Kind::Workload, &scale.workload)
                    && scale.replicas == 0
                {
                    self.stays_online(document, &format!("{pointer}/replicas"), &scale.workload);
                }
            }
            Action::RevertWorkload(revert) => {
                self.resource(
                    document,
                    &format!("{pointer}/revertWorkload/workload"),
                    Kind::Workload,
                    &revert.workload,
                );
            }
            Action::RestartWorkload(restart) => {
                let pointer = format!("{pointer}/restartWorkload/workload");
                self.resource(document, &pointer, Kind::Workload, &restart.workload);
            }
            Action::RestoreDataset(restore) => {
                let pointer = format!("{pointer}/restoreDataset/dataset");
                self.resource(document, &pointer, Kind::Dataset, &restore.dataset);
            }
            Action::RunJob(job) => self.command(document, &format!("{pointer}/runJob"), &job.command, job.timeout),
            Action::CallWebhook(call) => self.call(document, &format!("{pointer}/callWebhook"), call),
            _ => {}
        }
    }

    pub(super) fn cohorts_of(&mut self, document: Option<&Document>, pointer: &str, cohorts: &Names) {
        if let Names::Listed(names) = cohorts {
            for (place, cohort) in names.iter().enumerate() {
                self.resource(document, &format!("{pointer}/{place}"), Kind::Cohort, cohort);
            }
        }
    }

    /// Stopping every process that serves the API would take the always-online groups down. The one that always runs serves them on one machine;
    /// a plan must not rest on that.
    fn stays_online(&mut self, document: Option<&Document>, pointer: &str, workload: &str) {
        let groups = &self.program.program.spec.always_online;
        let serves = self.program.workloads.get(workload);
        let serves = serves.is_some_and(|one| one.spec.component == Component::Api && one.spec.command.is_none());
        if serves && !groups.is_empty() {
            let message =
                format!("it would stop '{workload}', which serves what is always online: {}", groups.join(", "));
            self.problem(document, pointer, message);
        }
    }

    fn call(&mut self, document: Option<&Document>, pointer: &str, call: &CallWebhook) {
        match (&call.source, &call.channel) {
            (Some(source), None) => {
                self.source(document, &format!("{pointer}/source"), source, "an http source", |source| {
                    source.http.is_some()
                });
                let path = call.path.as_deref().unwrap_or("/");
                let strange = |part: &str| part == ".." || part.chars().any(|c| c.is_whitespace() || c == '\\');
                if !path.starts_with('/') || path.starts_with("//") || path.split('/').any(strange) {
                    let message = format!("'{path}' is no path below the source, such as /v1/pause");
                    self.problem(document, &format!("{pointer}/path"), message);
                }
            }
            (None, Some(channel)) if !self.doubted("/spec/channels") => {
                let channels = &self.program.program.spec.channels;
                let with: Vec<&str> = channels
                    .iter()
                    .filter(|(_, channel)| channel.webhook.is_some())
                    .map(|(name, _)| name.as_str())
                    .collect();
                self.known(document, &format!("{pointer}/channel"), "channel with a webhook", channel, with);
                if call.path.is_some() {
                    self.problem(
                        document,
                        &format!("{pointer}/path"),
                        "a channel's webhook has its own address: leave path out",
                    );
                }
            }
            (None, Some(_)) => {}
            _ => self.problem(document, pointer, "it is either a source and a path, or a channel"),
        }
        let own = ["program", "run", "plan", "episode", "reason", "since", "key"];
        for name in call.body.keys().filter(|name| own.contains(&name.as_str())) {
            let pointer = format!("{pointer}/body/{}", super::token(name));
            self.problem(document, &pointer, format!("'{name}' is filled in by betagate"));
        }
    }
}
