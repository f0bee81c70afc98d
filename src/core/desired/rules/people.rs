//! Programs and cohorts: people, owners, channels, sources, lists.

use super::{ROUTE_GROUPS, Rules};
use crate::resources::{Address, Kind};

impl Rules<'_> {
    pub(super) fn people(&mut self) {
        let spec = &self.program.program.spec;
        let document = self.document(Kind::Program, self.program.name());
        for (place, row) in spec.owners.iter().enumerate() {
            self.person(document, &format!("/spec/owners/{place}/owner"), &row.owner);
            if let Some(backup) = &row.backup {
                self.person(document, &format!("/spec/owners/{place}/backup"), backup);
            }
        }
        for (place, name) in spec.duty.iter().flat_map(|duty| duty.people.iter().enumerate()) {
            self.person(document, &format!("/spec/duty/people/{place}"), name);
        }
        for (place, group) in spec.always_online.iter().enumerate() {
            self.known(
                document,
                &format!("/spec/alwaysOnline/{place}"),
                "route group",
                group,
                ROUTE_GROUPS.iter().copied(),
            );
        }
        for (name, source) in &spec.sources {
            for (kind, address) in
                [("database", &source.database), ("prometheus", &source.prometheus), ("http", &source.http)]
            {
                if let Some(address) = address {
                    self.address(&format!("/spec/sources/{name}/{kind}"), address);
                }
            }
            let given = [&source.database, &source.prometheus, &source.http].into_iter().flatten().count();
            if given != 1 {
                self.problem(
                    document,
                    &format!("/spec/sources/{name}"),
                    "a source is exactly one of database, prometheus, http",
                );
            }
        }
        for (name, channel) in &spec.channels {
            let pointer = format!("/spec/channels/{name}");
            if channel.email.is_empty() && channel.webhook.is_none() {
                self.problem(document, &pointer, "a channel needs email or webhook");
            }
            if let Some(webhook) = &channel.webhook {
                self.address(&format!("{pointer}/webhook"), webhook);
            }
        }
    }

    /// An address stands in the open or in a secret; one with a password belongs into a secret.
    fn address(&mut self, pointer: &str, address: &Address) {
        let document = self.document(Kind::Program, self.program.name());
        if address.url.is_some() == address.secret_ref.is_some() {
            self.problem(document, pointer, "give either url or secretRef");
        }
        let Some(url) = &address.url else { return };
        let authority =
            url.split_once("://").map_or(url.as_str(), |(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
        if authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) {
            self.problem(
                document,
                &format!("{pointer}/url"),
                "the address carries a password: put it in a secret and name that in secretRef",
            );
        }
    }

    pub(super) fn cohorts(&mut self) {
        for (name, cohort) in &self.program.cohorts {
            let document = self.document(Kind::Cohort, name);
            let members = &cohort.spec.members;
            let given = [members.csv.is_some(), members.inline.is_some(), members.secret_ref.is_some()];
            if given.iter().filter(|given| **given).count() != 1 {
                self.problem(document, "/spec/members", "members is exactly one of csv, inline, secretRef");
            }
            if let Some(csv) = &members.csv {
                self.file(document, "/spec/members/csv", csv);
            }
            if let Some(invites) = &cohort.spec.invites {
                self.template(document, "/spec/invites/template", &invites.template);
            }
        }
        for (name, invite) in &self.program.invites {
            let document = self.document(Kind::Invite, name);
            self.resource(document, "/spec/cohort", Kind::Cohort, &invite.spec.cohort);
        }
    }
}
