//! Programs and cohorts: people, owners, channels, sources, lists.

use std::collections::BTreeMap;

use super::{ROUTE_GROUPS, Rules, token};
use crate::{
    cohort::{AddressRules, normalise},
    desired::parse::Document,
    resources::{Address, ForgeRepository, Kind},
};

/// On a cluster a program's name is a label of what belongs to it, and no label is longer: a command of a rollback would be the first to be refused.
const LONGEST_NAME: usize = 63;

impl Rules<'_> {
    pub(super) fn people(&mut self) {
        let spec = &self.program.program.spec;
        let document = self.document(Kind::Program, self.program.name());
        if self.program.name().len() > LONGEST_NAME {
            let message = format!(
                "a program's name may have {LONGEST_NAME} characters: on a cluster it is a label of all that belongs to it"
            );
            self.problem(document, "/metadata/name", message);
        }
        for (place, row) in spec.owners.iter().enumerate() {
            self.person(document, &format!("/spec/owners/{place}/owner"), &row.owner);
            if let Some(backup) = &row.backup {
                self.person(document, &format!("/spec/owners/{place}/backup"), backup);
            }
        }
        for (place, name) in spec.duty.iter().flat_map(|duty| duty.people.iter().enumerate()) {
            self.person(document, &format!("/spec/duty/people/{place}"), name);
        }
        for (place, away) in spec.duty.iter().flat_map(|duty| duty.away.iter().enumerate()) {
            self.person(document, &format!("/spec/duty/away/{place}/person"), &away.person);
        }
        self.lasting(document, "/spec/duty/shifts", spec.duty.as_ref().map(|duty| duty.shifts));
        for (name, person) in &spec.people {
            if let Some(address) = &person.notify {
                self.mail_address(document, &format!("/spec/people/{}/notify", token(name)), address);
            }
        }
        for (field, url) in [("publicUrl", &spec.public_url), ("feedbackUrl", &spec.feedback_url)] {
            if url.as_ref().is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
                self.problem(
                    document,
                    &format!("/spec/{field}"),
                    "an address for people starts with http:// or https://",
                );
            }
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
        for (theirs, ours) in spec.webhooks.iter().flat_map(|webhooks| &webhooks.severities) {
            if ours != "ignore" {
                self.severity(document, &format!("/spec/webhooks/severities/{}", token(theirs)), ours);
            }
        }
        for (name, source) in &spec.sources {
            for (kind, address) in
                [("database", &source.database), ("prometheus", &source.prometheus), ("http", &source.http)]
            {
                if let Some(address) = address {
                    self.address(&format!("/spec/sources/{}/{kind}", token(name)), address);
                }
            }
            if name == "betagate" {
                let message = "`betagate` is its own store already: give the source another name";
                let place = format!("/spec/sources/{}", token(name));
                self.problems.extend(document.map(|document| document.problem_at_key(&place, message)));
            }
            let given = [&source.database, &source.prometheus, &source.http].into_iter().flatten().count();
            if given != 1 {
                self.problem(
                    document,
                    &format!("/spec/sources/{}", token(name)),
                    "a source is exactly one of database, prometheus, http",
                );
            }
        }
        if let Some(forge) = &spec.forge {
            self.forge(document, forge);
        }
        for (name, channel) in &spec.channels {
            let pointer = format!("/spec/channels/{}", token(name));
            for (place, address) in channel.email.iter().enumerate() {
                self.mail_address(document, &format!("{pointer}/email/{place}"), address);
            }
            if channel.email.is_empty() && channel.webhook.is_none() {
                self.problem(document, &pointer, "a channel needs email or webhook");
            }
            if let Some(webhook) = &channel.webhook {
                self.address(&format!("{pointer}/webhook"), webhook);
            }
        }
    }

    fn forge(&mut self, document: Option<&Document>, forge: &ForgeRepository) {
        let api = forge.api.as_deref().unwrap_or(ForgeRepository::GITHUB);
        let rest = api.strip_prefix("https://").or_else(|| api.strip_prefix("http://")).unwrap_or_default();
        if rest.is_empty() || rest.starts_with('/') || rest.contains(['@', '?', '#', ' ']) {
            let message =
                "a forge's API is at https://api.github.com, or https://HOST/api/v1: without user, password or query";
            self.problem(document, "/spec/forge/api", message);
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let part = |part: &str| !part.is_empty() && part.chars().all(plain) && !part.starts_with('.');
        if !forge.repository.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name)) {
            self.problem(document, "/spec/forge/repository", "a repository is OWNER/NAME, such as ana/beta");
        }
        if forge.token_ref.is_empty() {
            self.problem(document, "/spec/forge/tokenRef", "the name of the secret that holds the forge's token");
        }
    }

    /// An address stands in the open or in a secret; one with a password belongs into a secret.
    fn address(&mut self, pointer: &str, address: &Address) {
        let document = self.document(Kind::Program, self.program.name());
        if address.url.is_some() == address.secret_ref.is_some() {
            self.problem(document, pointer, "give either url or secretRef");
        }
        let Some(url) = &address.url else { return };
        let (before, query) = url.split_once('?').unwrap_or((url, ""));
        let after_scheme = before.split_once("://").map_or(before, |(_, rest)| rest);
        let authority = after_scheme.split('/').next().unwrap_or_default();
        let in_query = query.split('&').any(|part| part.to_ascii_lowercase().starts_with("password="));
        if in_query || authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) {
            self.problem(
                document,
                &format!("{pointer}/url"),
                "the address carries a password: put it in a secret and name that in secretRef",
            );
        }
    }

    fn mail_address(&mut self, document: Option<&Document>, pointer: &str, address: &str) {
        if let Err(fault) = normalise(address, AddressRules::default()) {
            self.problem(document, pointer, fault.to_string());
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
            if members.hashed && members.inline.is_some() {
                self.problem(document, "/spec/members/hashed", "keyed hashes stand in a list: give csv or secretRef");
            }
            if members.hashed && cohort.spec.invites.as_ref().is_some_and(|invites| invites.rate.is_some()) {
                let message = "no mail can go to keyed hashes, so that there is nothing to pace: the template is for the links that \
                    confirm an address, which leave when somebody asks";
                self.problem(document, "/spec/invites/rate", message);
            }
            if let Some(invites) = &cohort.spec.invites {
                self.lasting(document, "/spec/invites/expireAfter", invites.expire_after);
                self.template(document, "/spec/invites/template", &invites.template);
            }
        }
        let mut invited: BTreeMap<(&str, String), &str> = BTreeMap::new();
        for (name, invite) in &self.program.invites {
            let document = self.document(Kind::Invite, name);
            self.resource(document, "/spec/cohort", Kind::Cohort, &invite.spec.cohort);
            self.mail_address(document, "/spec/email", &invite.spec.email);
            let Ok(address) = normalise(&invite.spec.email, AddressRules::default()) else { continue };
            if self.documents.given(Kind::Invite, name) {
                continue;
            }
            let other = invited.entry((&invite.spec.cohort, address)).or_insert(name);
            if other != name {
                let message = format!("invite '{other}' is for the same address and cohort");
                self.problem(document, "/spec/email", message);
            }
        }
    }
}
