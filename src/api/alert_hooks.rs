//! `POST /hooks/alertmanager` and `/hooks/pagerduty`: incidents as alerting systems tell of them.
//!
//! Must not know: what an incident leads to.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use betagate_core::resources::ProgramSpec;
use data_encoding::BASE64;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{ApiState, Problem};
use crate::source::hook;
use crate::store::incident_feeds::{self, Change, Told};
use crate::store::status;

/// Alerts in one request at most.
const AT_ONCE: usize = 1000;
/// The longest title that is kept.
const LONGEST_TITLE: usize = 200;
/// What no word of theirs says.
const OTHERWISE: &str = "sev-3";
/// What is not taken in.
const IGNORE: &str = "ignore";
const SEVERITIES: [&str; 4] = ["sev-1", "sev-2", "sev-3", "sev-4"];

pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(alertmanager)).routes(routes!(pagerduty))
}

#[derive(Deserialize, IntoParams)]
struct About {
    /// The program; the only one when left out. An alert's label `betagate_program` says it too.
    program: Option<String>,
}

/// The programs that there are, with what their severities are called elsewhere.
struct Programs(BTreeMap<String, ProgramSpec>);

impl Programs {
    async fn load(state: &ApiState) -> Result<Self, Problem> {
        let good = status::all_good(&state.store).await?.into_iter().filter(|good| good.kind == "Program");
        let specs = good.filter_map(|good| Some((good.name, serde_json::from_value(good.body["spec"].clone()).ok()?)));
        Ok(Self(specs.collect()))
    }

    fn named<'p>(&'p self, name: Option<&str>) -> Result<(&'p str, &'p ProgramSpec), Problem> {
        let found = match name {
            Some(name) => self.0.get_key_value(name),
            None if self.0.len() == 1 => self.0.iter().next(),
            None => return Err(Problem::bad("there are several programs: say ?program=NAME")),
        };
        found.map(|(name, spec)| (name.as_str(), spec)).ok_or_else(|| Problem::bad("there is no such program"))
    }
}

/// What a word of theirs is here.
fn severity<'s>(spec: &'s ProgramSpec, theirs: &'s str) -> &'s str {
    let said = spec.webhooks.as_ref().and_then(|webhooks| webhooks.severities.get(theirs));
    if let Some(said) = said {
        return said;
    }
    match theirs.to_ascii_lowercase().as_str() {
        known if SEVERITIES.contains(&known) => SEVERITIES.into_iter().find(|one| *one == known).unwrap_or(OTHERWISE),
        "critical" | "page" | "p1" => "sev-1",
        "error" | "high" | "p2" => "sev-2",
        "warning" | "low" | "p3" => "sev-3",
        "info" | "p4" | "p5" => "sev-4",
        "none" => IGNORE,
        _ => OTHERWISE,
    }
}

/// One line, not too long.
fn title(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_TITLE).collect();
    let line = line.trim();
    if line.is_empty() { "without a title".to_owned() } else { line.to_owned() }
}

/// A notification of Alertmanager (version 4). Fields that are not named here are ignored.
#[derive(Deserialize)]
struct Notification {
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    status: AlertStatus,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    starts_at: Timestamp,
    ends_at: Option<Timestamp>,
    fingerprint: String,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum AlertStatus {
    Firing,
    Resolved,
}

impl Alert {
    fn told(&self, programs: &Programs, about: Option<&str>, now: Timestamp) -> Result<Option<Told>, Problem> {
        let label = |name: &str| self.labels.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let (program, spec) = programs.named(label("betagate_program").or(about))?;
        let severity = severity(spec, label("severity").unwrap_or_default());
        if severity == IGNORE {
            return Ok(None);
        }
        if self.fingerprint.is_empty() || !self.fingerprint.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(Problem::bad("an alert has a fingerprint, in hexadecimal digits"));
        }
        let summary = self.annotations.get("summary").map(String::as_str).filter(|text| !text.trim().is_empty());
        // The clocks of two machines differ: nothing has begun later than now.
        let started_at = self.starts_at.min(now);
        let resolved_at = (self.status == AlertStatus::Resolved)
            .then(|| self.ends_at.filter(|ended| *ended <= now).unwrap_or(now).max(started_at));
        Ok(Some(Told {
            program: program.to_owned(),
            source: "alertmanager".to_owned(),
            key: self.fingerprint.clone(),
            severity: severity.to_owned(),
            category: label("category").unwrap_or_default().to_owned(),
            title: title(summary.or(label("alertname")).unwrap_or_default()),
            started_at,
            resolved_at,
            acknowledged_at: None,
            changed_at: resolved_at.unwrap_or(started_at),
        }))
    }
}

/// Takes in what fires and what is over. The secret `alertmanager-hook` as a bearer token, or as the password of a user of any name
/// (`http_config` in Alertmanager's configuration). What is told twice, late or out of order changes nothing.
#[utoipa::path(post, path = "/hooks/alertmanager", tag = "hooks", request_body = Value, params(About),
    responses((status = 200, description = "Taken in: how many were opened, closed, opened again, known"),
        (status = 400, description = "Not understood; nothing was taken in"), (status = 401, description = "Without the secret")))]
async fn alertmanager(
    State(state): State<ApiState>,
    Query(about): Query<About>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let secret = bytes_of(state.alert_hooks.alertmanager.as_ref());
    hook::verify_token(secret, shared_secret(&headers).as_deref())
        .map_err(|error| Problem::new(StatusCode::UNAUTHORIZED, "token", error.to_string()))?;
    let notification: Notification = serde_json::from_slice(&body)
        .map_err(|_| Problem::bad("this is no notification of Alertmanager (version 4, as JSON)"))?;
    if notification.alerts.len() > AT_ONCE {
        return Err(Problem::bad(format!("more than {AT_ONCE} alerts in one request")));
    }
    let (programs, now) = (Programs::load(&state).await?, state.clock.now());
    let told = notification.alerts.iter().map(|alert| alert.told(&programs, about.program.as_deref(), now));
    let told: Vec<Option<Told>> = told.collect::<Result<_, _>>()?;
    take(&state, told, now).await
}

/// An event of PagerDuty's webhooks (version 3).
#[derive(Deserialize)]
struct Delivery {
    event: Event,
}

#[derive(Deserialize)]
struct Event {
    event_type: String,
    occurred_at: Timestamp,
    #[serde(default)]
    data: Value,
}

impl Event {
    fn told(&self, programs: &Programs, about: Option<&str>, now: Timestamp) -> Result<Option<Told>, Problem> {
        // Notes, responders, and the ping of a new subscription say nothing of how an incident stands.
        if self.data["type"] != "incident" || !self.event_type.starts_with("incident.") {
            return Ok(None);
        }
        let (program, spec) = programs.named(about)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let priority = text(&self.data["priority"]["summary"]);
        let theirs = if priority.is_empty() { text(&self.data["urgency"]) } else { priority };
        let severity = severity(spec, &theirs).to_owned();
        let key = text(&self.data["id"]);
        if severity == IGNORE {
            return Ok(None);
        }
        if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(Problem::bad("an incident has an id, of letters and digits"));
        }
        let changed_at = self.occurred_at.min(now);
        let created = self.data["created_at"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        let status = self.data["status"].as_str().unwrap_or_default();
        if !["triggered", "acknowledged", "resolved"].contains(&status) {
            return Err(Problem::bad("an incident's status is triggered, acknowledged or resolved"));
        }
        Ok(Some(Told {
            program: program.to_owned(),
            source: "pagerduty".to_owned(),
            key,
            severity,
            category: String::new(),
            title: title(self.data["title"].as_str().unwrap_or_default()),
            started_at: created.unwrap_or(changed_at).min(changed_at),
            resolved_at: (status == "resolved").then_some(changed_at),
            acknowledged_at: (status == "acknowledged").then_some(changed_at),
            changed_at,
        }))
    }
}

/// Takes in how an incident stands. Signed with the secret `pagerduty-hook` (`X-PagerDuty-Signature`, version 1). What is told twice, late or
/// out of order changes nothing.
#[utoipa::path(post, path = "/hooks/pagerduty", tag = "hooks", request_body = Value, params(About),
    responses((status = 200, description = "Taken in: how many were opened, closed, opened again, known"),
        (status = 400, description = "Not understood; nothing was taken in"), (status = 401, description = "Not signed with the secret")))]
async fn pagerduty(
    State(state): State<ApiState>,
    Query(about): Query<About>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let secret = bytes_of(state.alert_hooks.pagerduty.as_ref());
    let given = headers.get("x-pagerduty-signature").and_then(|value| value.to_str().ok());
    // While a secret is changed there are two signatures.
    let signatures = given.into_iter().flat_map(|all| all.split(',')).filter_map(|one| one.trim().strip_prefix("v1="));
    let answers: Vec<_> = signatures.take(10).map(|signature| hook::verify(secret, Some(signature), &body)).collect();
    if !answers.iter().any(Result::is_ok) {
        let error = match answers.into_iter().find_map(Result::err) {
            Some(error) => error,
            None => hook::verify(secret, None, &body).err().unwrap_or(hook::HookError::Unsigned),
        };
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "signature", error.to_string()));
    }
    let delivery: Delivery = serde_json::from_slice(&body)
        .map_err(|_| Problem::bad("this is no event of PagerDuty's webhooks (version 3)"))?;
    let (programs, now) = (Programs::load(&state).await?, state.clock.now());
    let told = delivery.event.told(&programs, about.program.as_deref(), now)?;
    take(&state, vec![told], now).await
}

/// Takes in all of it, or nothing.
async fn take(state: &ApiState, mut told: Vec<Option<Told>>, now: Timestamp) -> Result<Json<Value>, Problem> {
    // In one order, so that two requests that tell of the same never wait for each other in a circle.
    told.sort_by(|a, b| {
        a.as_ref().map(|told| (&told.program, &told.key)).cmp(&b.as_ref().map(|told| (&told.program, &told.key)))
    });
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut tx = state.store.begin().await?;
    for one in &told {
        let word = match one {
            None => "ignored",
            Some(told) => match incident_feeds::take(&mut tx, told, now).await? {
                Change::Opened => "opened",
                Change::Closed => "closed",
                Change::Reopened => "reopened",
                Change::Changed => "changed",
                Change::Known => "known",
                Change::Late => "late",
            },
        };
        *counts.entry(word).or_default() += 1;
    }
    tx.commit().await?;
    Ok(Json(json!(counts)))
}

fn bytes_of(secret: Option<&SecretString>) -> &[u8] {
    secret.map(|secret| secret.expose_secret().as_bytes()).unwrap_or_default()
}

/// A bearer token, or the password of basic authentication.
fn shared_secret(headers: &HeaderMap) -> Option<String> {
    let given = headers.get("authorization")?.to_str().ok()?;
    if let Some(token) = given.strip_prefix("Bearer ") {
        return Some(token.to_owned());
    }
    let pair = String::from_utf8(BASE64.decode(given.strip_prefix("Basic ")?.as_bytes()).ok()?).ok()?;
    pair.split_once(':').map(|(_, password)| password.to_owned())
}
