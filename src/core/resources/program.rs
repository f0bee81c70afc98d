//! `Program`: the beta itself. Time zone, people, owners, what must never change, what must always stay online, where to measure.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Days, Hours, Rate, ResourceStatus, Span};

/// A beta program. Everything else belongs to one by `spec.program`.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "betagate.dev",
    version = "v1alpha1",
    kind = "Program",
    namespaced,
    status = "ResourceStatus",
    derive = "PartialEq",
    category = "betagate",
    shortname = "prog",
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Summary", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("!has(oldSelf.timeZone) || self.timeZone == oldSelf.timeZone").message("timeZone is immutable: days that were counted would change"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProgramSpec {
    /// The zone in which days, weeks and reviews are counted, such as Europe/Rome. Immutable.
    #[schemars(extend("format" = "betagate-zone"))]
    pub time_zone: String,
    /// Day 0 of relative dates. Left out: the Monday of the week in which the controller first sees the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "betagate-date"))]
    pub starts_on: Option<jiff::civil::Date>,
    /// The people named elsewhere, and how each system knows them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub people: BTreeMap<String, Person>,
    /// The ownership matrix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<Ownership>,
    /// What no stage, pull request or rollback may change while the program runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invariants: Vec<Invariant>,
    /// Route groups that no rollback step may take down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub always_online: Vec<String>,
    /// Where checks measure, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100))]
    pub sources: BTreeMap<String, Source>,
    /// Who is on duty, hour by hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duty: Option<Duty>,
    /// The forge that holds the repository of the documents: what a cause step proposes there becomes a pull request. Left out: a branch only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forge: Option<ForgeRepository>,
    /// Days, in the program's zone, on which no stage opens: SAT, 2026-12-24, 2026-12-24/2027-01-06.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub quiet_days: Vec<Days>,
    /// Where notes go, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100))]
    pub channels: BTreeMap<String, Channel>,
    /// The address under which testers reach the program; links in invites start with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// Where testers give feedback; a variable of the mail templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feedback_url: Option<String>,
    /// How mail leaves. Left out: messages are written to files for review, and nothing leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<Mail>,
    /// Whose words count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signoffs: Option<SignoffRules>,
    /// How addresses are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<AddressRules>,
    /// What incidents from alerting systems are (`POST /hooks/alertmanager`, `/hooks/pagerduty`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhooks: Option<Webhooks>,
    /// The share of a cohort (per cent) that one change may revoke without a sign-off; 20 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub mass_change_percent: Option<u8>,
    /// Stops advances and repairs, never triggers or holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<Suspend>,
}

/// How each system knows one person.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Person {
    /// User names as the API server knows them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kubernetes: Vec<String>,
    /// Author addresses in Git.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub git: Vec<String>,
    /// The address that pages and reminders go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<String>,
}

/// One row of the ownership matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ownership {
    /// What is owned, such as kpi-scorecard.
    pub area: String,
    /// A name from `people`.
    pub owner: String,
    /// A name from `people`: who is paged next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// How often, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cadence: Option<String>,
}

/// A flag's value that nothing may change while the program runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Invariant {
    /// The flag's key.
    pub flag: String,
    /// The value it keeps.
    #[schemars(schema_with = "super::kind::anything")]
    pub is: Value,
}

/// A place where checks measure: exactly one of the kinds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("[has(self.database), has(self.prometheus), has(self.http)].filter(x, x).size() == 1").message("a source is exactly one of database, prometheus, http"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// A PostgreSQL or SQLite database, read by a read-only role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Address>,
    /// A Prometheus server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<Address>,
    /// A host that answers JSON over HTTP (health endpoints, Sentry, PagerDuty).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Address>,
    /// The environments in which this source exists; left out: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<String>,
}

/// An address, in the open or in a secret, and a token for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.url) != has(self.secretRef)").message("give either url or secretRef"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Address {
    /// The address. It must not carry a password: use secretRef.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The name of a secret that holds the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<String>,
    /// The name of a secret that holds a bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ref: Option<String>,
}

/// A repository of a forge: GitHub, Gitea, or what speaks as they do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForgeRepository {
    /// The address of the forge's API: https://HOST/api/v1 of a Gitea; GitHub's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    /// The repository, as OWNER/NAME.
    pub repository: String,
    /// The branch that pull requests are to be merged into; the repository's default branch when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// The name of the secret that holds a token which may open pull requests.
    pub token_ref: String,
}

impl ForgeRepository {
    /// GitHub's API.
    pub const GITHUB: &'static str = "https://api.github.com";
}

/// Primary and backup for every staffed hour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Duty {
    /// How long a shift is.
    pub shifts: Span,
    /// Who takes turns, in order; the next one is the backup.
    #[schemars(length(min = 1))]
    pub people: Vec<String>,
    /// The staffed hours of a day in the program's zone, such as 08:00-20:00; all of them when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Hours>,
    /// Who is away, and when: the next of the others who is there takes the turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub away: Vec<Away>,
}

/// Days on which somebody can't be on duty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Away {
    /// Who.
    pub person: String,
    /// When: a day, from one to another, or a weekday.
    pub days: Days,
}

/// Where a note can go: any of the ways.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.email) || has(self.webhook)").message("a channel needs email or webhook"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Channel {
    /// Addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub email: Vec<String>,
    /// A Slack, Discord or plain JSON webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Address>,
}

/// How mail leaves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mail {
    /// Whether messages are sent. False: they are written to files for review.
    #[serde(default)]
    pub send: bool,
    /// The sender's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The name of a secret that holds an `smtp://` or `smtps://` address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smtp_ref: Option<String>,
    /// The name of a secret that holds the certificate (PEM) of who vouches for the mail server, where that is none of the public authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<String>,
    /// A program that takes a message on standard input, such as msmtp -t.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_command: Option<String>,
    /// How many invites of all cohorts together in a length of time; 600/min when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// How many invites to one receiving domain in a length of time; 120/min when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_domain: Option<Rate>,
}

/// Whose sign-offs count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignoffRules {
    /// Whether a word counts only when it is known who said it.
    #[serde(default)]
    pub verified: Verified,
}

/// Whether an author must be verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verified {
    /// Unverified words count, and are shown as such.
    #[default]
    Optional,
    /// Only verified words count.
    Required,
}

/// What incidents from alerting systems are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhooks {
    /// What their severities, priorities and urgencies are here: sev-1 to sev-4, or `ignore`. Without it `critical`, `page`, P1 are sev-1; `error`, `high`, P2
    /// sev-2; `warning`, `low`, P3 sev-3; `info`, P4, P5 sev-4; `none` is ignored; everything else is sev-3.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100))]
    pub severities: BTreeMap<String, String>,
}

/// How addresses are compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddressRules {
    /// `a.da@` and `ada@` are the same.
    #[serde(default)]
    pub ignore_dots: bool,
    /// `ada+beta@` and `ada@` are the same.
    #[serde(default)]
    pub ignore_plus: bool,
    /// What the same person in two cohorts' lists is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub across_cohorts: Option<AcrossCohorts>,
}

/// What the same person in two cohorts' lists is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AcrossCohorts {
    /// Nothing to say.
    Allow,
    /// A warning, which needs an acknowledgement.
    #[default]
    Warn,
    /// An error.
    Refuse,
}

/// Why, by whom and until when a resource is left alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Suspend {
    /// Why.
    pub reason: String,
    /// Who says so.
    pub by: String,
    /// Until when.
    pub until: super::Moment,
}
