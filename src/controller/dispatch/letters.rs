//! What an invite says: its template in the person's language, what fills it, and the message that comes of both.
//!
//! Must not know: when or how a message leaves.

use std::collections::BTreeMap;

use betagate_core::desired::ProgramDesired;
use jiff::Timestamp;
use uuid::Uuid;

use crate::keys::Keys;
use crate::outbox::{Mail, Template, effect_digest, unsubscribe};
use crate::source::Snapshot;

const USUAL_SENDER: &str = "betagate@localhost";
/// Stands for a code where there is none; it is not of a code's alphabet, so that it lets nobody in anywhere.
pub(super) const NO_CODE: &str = "0000-THIS-IS-NOT-A-CODE-0000";

/// Who gets a message, and what in it is theirs alone.
pub(super) struct Addressee<'a> {
    /// The invite and its generation.
    pub(super) invite: (Uuid, u32),
    /// The cohort.
    pub(super) cohort: &'a str,
    /// The address.
    pub(super) email: &'a str,
    /// The code.
    pub(super) code: &'a str,
    /// When the code stops working.
    pub(super) expires_at: Timestamp,
}

/// The key of the effect that a message is; the Message-ID is made from it.
pub(super) fn effect_key((invite, generation): (Uuid, u32)) -> String {
    format!("invite/{invite}/{generation}")
}

/// What stands before the @ of its Message-ID.
pub(super) fn message_key(invite: (Uuid, u32)) -> String {
    effect_digest(&effect_key(invite))
}

/// Who a program's messages are from.
pub(super) fn sender(program: &ProgramDesired) -> String {
    let mail = program.program.spec.mail.as_ref();
    mail.and_then(|mail| mail.from.clone()).unwrap_or_else(|| USUAL_SENDER.to_owned())
}

/// Where links lead: what the environment says, what the program says, this server.
pub(super) fn base(program: &ProgramDesired, here: Option<&str>) -> String {
    let base = std::env::var("FRONTEND_URL").ok().or_else(|| program.program.spec.public_url.clone());
    base.or_else(|| here.map(str::to_owned)).unwrap_or_default().trim_end_matches('/').to_owned()
}

/// A template of the snapshot by its name in `cohorts/templates/`, in a language where there is one: for `it-CH` that is `NAME.it-CH.txt`,
/// else `NAME.it.txt`, else `NAME.txt`; the HTML beside it has the same name.
pub(super) fn template_in(snapshot: &Snapshot, name: &str, locale: &str) -> Result<Template, String> {
    let read = |name: &str, ending: &str| -> Option<String> {
        let file = snapshot.file(&format!("cohorts/templates/{name}.{ending}")).ok()?;
        String::from_utf8(file.read().ok()?.to_vec()).ok()
    };
    for wanted in spellings(name, locale) {
        if let Some(text) = read(&wanted, "txt") {
            return Ok(Template { html: read(&wanted, "html"), text, name: wanted });
        }
    }
    Err(format!("there is no template cohorts/templates/{name}.txt"))
}

fn spellings(name: &str, locale: &str) -> Vec<String> {
    let plain = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric());
    let parts: Vec<&str> = locale.trim().split(['-', '_']).collect();
    let mut all = Vec::new();
    if parts.iter().all(|part| plain(part)) {
        let language = parts[0].to_lowercase();
        let rest = parts[1..].iter().map(|part| if part.len() == 2 { part.to_uppercase() } else { (*part).to_owned() });
        let whole: Vec<String> = std::iter::once(language.clone()).chain(rest).collect();
        all.push(format!("{name}.{}", whole.join("-")));
        all.push(format!("{name}.{language}"));
    }
    all.push(name.to_owned());
    all.dedup();
    all
}

/// A template that can be filled for everyone: what is wrong with it shows before anything leaves.
pub(super) fn usable(
    snapshot: &Snapshot,
    program: &ProgramDesired,
    (cohort, locale): (&str, &str),
) -> Result<Template, String> {
    let rules = program.cohorts.get(cohort).and_then(|resource| resource.spec.invites.as_ref());
    let name = rules.map(|rules| rules.template.as_str()).ok_or_else(|| format!("{cohort} says no template"))?;
    let template = template_in(snapshot, name, locale)?;
    let all = ["address", "cohort", "code", "link", "expiry", "feedback_url", "program", "unsubscribe"];
    let sample = all.into_iter().map(|name| (name.to_owned(), "x".to_owned())).collect();
    template.fill(&sample).map_err(|error| error.to_string())?;
    Ok(template)
}

/// The message of an invite.
pub(super) fn letter(
    program: &ProgramDesired,
    template: Template,
    to: &Addressee<'_>,
    (base, keys): (&str, Option<&Keys>),
    at: Timestamp,
) -> Mail {
    let spec = &program.program.spec;
    let unsubscribe = keys.map_or_else(
        || format!("{base}/unsubscribe?key=none"),
        |keys| unsubscribe::link(base, &keys.token, to.invite.0),
    );
    let link = format!("{base}/signup?invite={}", to.code);
    let feedback = spec.feedback_url.clone().unwrap_or_else(|| base.to_owned());
    let all = [
        ("address", to.email),
        ("cohort", to.cohort),
        ("code", to.code),
        ("link", &link),
        ("expiry", &to.expires_at.to_string()),
        ("feedback_url", &feedback),
        ("program", program.name()),
        ("unsubscribe", &unsubscribe),
    ];
    let variables: BTreeMap<String, String> =
        all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let (from, to_address) = (sender(program), to.email.to_owned());
    let unsubscribe = Some(unsubscribe);
    Mail { effect_key: effect_key(to.invite), from, to: to_address, template, variables, at, unsubscribe, test: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_falls_back_to_its_own_plain_form_and_then_to_no_language() {
        assert_eq!(spellings("beta-invite", "it_ch"), ["beta-invite.it-CH", "beta-invite.it", "beta-invite"]);
        assert_eq!(spellings("beta-invite", "IT"), ["beta-invite.it", "beta-invite"]);
        assert_eq!(spellings("beta-invite", ""), ["beta-invite"]);
        assert_eq!(spellings("beta-invite", "../../secrets"), ["beta-invite"]);
    }
}
