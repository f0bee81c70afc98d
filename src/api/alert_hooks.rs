//! `POST /hooks/alertmanager` and `/hooks/pagerduty`: incidents as alerting systems tell of them.
//!
//! What is to be ignored (`webhooks.severities`) opens nothing, and still ends what was opened before. Must not know: what an incident leads to.

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

use super::auth::refuse_at;
use super::{ApiState, Problem};
use crate::core::resources::LONGEST_TITLE;
use crate::source::hook;
use crate::store::incident_feeds::{self, Change, Told};
use crate::store::{audit, status};

/// Alerts in one request at most.
const AT_ONCE: usize = 1000;
/// Of the alerts of a request that are refused, so many are named.
const TOLD_REFUSED: usize = 10;
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

    fn named<'p>(&'p self, name: Option<&str>) -> Result<(&'p str, &'p ProgramSpec), String> {
        let found = match name {
            Some(name) => self.0.get_key_value(name),
            None if self.0.len() == 1 => self.0.iter().next(),
            None if self.0.is_empty() => return Err("there is no program yet".to_owned()),
            None => return Err("there are several programs: say ?program=NAME".to_owned()),
        };
        found.map(|(name, spec)| (name.as_str(), spec)).ok_or_else(|| "there is no such program".to_owned())
    }
}

/// What a word of theirs is here. None: it is to be ignored.
fn severity(spec: &ProgramSpec, theirs: &str) -> Option<String> {
    let said = spec.webhooks.as_ref().and_then(|webhooks| webhooks.severities.get(theirs));
    let ours = said.map_or_else(|| usual(theirs), String::as_str);
    (ours != IGNORE).then(|| ours.to_owned())
}

/// What a word of theirs is where nobody says otherwise.
fn usual(theirs: &str) -> &'static str {
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
fn line(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_TITLE).collect();
    line.trim().to_owned()
}

fn title(text: &str) -> String {
    let line = line(text);
    if line.is_empty() { "without a title".to_owned() } else { line }
}

/// A notification of Alertmanager (version 4). Fields that are not named here are ignored, and each alert is read by itself.
#[derive(Deserialize)]
struct Notification {
    alerts: Vec<Value>,
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
    fn read(alert: &Value, programs: &Programs, about: Option<&str>, now: Timestamp) -> Result<Told, String> {
        let alert = Self::deserialize(alert).map_err(|_| "this is no alert of Alertmanager".to_owned())?;
        alert.told(programs, about, now)
    }

    fn told(&self, programs: &Programs, about: Option<&str>, now: Timestamp) -> Result<Told, String> {
        let label = |name: &str| self.labels.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let (program, spec) = programs.named(label("betagate_program").or(about))?;
        if self.fingerprint.is_empty() || !self.fingerprint.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err("an alert has a fingerprint, in hexadecimal digits".to_owned());
        }
        let summary = self.annotations.get("summary").map(String::as_str).filter(|text| !text.trim().is_empty());
        // The clocks of two machines differ: nothing has begun later than now.
        let started_at = self.starts_at.min(now);
        let resolved_at = (self.status == AlertStatus::Resolved)
            .then(|| self.ends_at.filter(|ended| *ended <= now).unwrap_or(now).max(started_at));
        Ok(Told {
            program: program.to_owned(),
            source: "alertmanager".to_owned(),
            key: self.fingerprint.clone(),
            severity: severity(spec, label("severity").unwrap_or_default()),
            category: label("category").map(line).unwrap_or_default(),
            title: title(summary.or(label("alertname")).unwrap_or_default()),
            started_at,
            resolved_at,
            acknowledged_at: None,
            changed_at: resolved_at.unwrap_or(started_at),
        })
    }
}

/// Takes in what fires and what is over. The secret `alertmanager-hook` as a bearer token, or as the password of a user of any name
/// (`http_config` in Alertmanager's configuration). What is told twice, late or out of order changes nothing. An alert that is not understood is
/// refused by itself: the others are taken in, the record says which one it was, and why.
#[utoipa::path(post, path = "/hooks/alertmanager", tag = "hooks", request_body = Value, params(About),
    responses((status = 200, description = "Taken in: how many were opened, closed, opened again, known, and how many refused"),
        (status = 400, description = "No notification, or an unknown program; nothing was taken in"), (status = 401, description = "Without the secret")))]
async fn alertmanager(
    State(state): State<ApiState>,
    Query(about): Query<About>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let secret = bytes_of(state.alert_hooks.alertmanager.as_ref());
    if let Err(error) = hook::verify_token(secret, shared_secret(&headers).as_deref()) {
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "token", error.to_string());
        return Err(refuse_at(&state, "POST /hooks/alertmanager", problem).await);
    }
    let notification: Notification = serde_json::from_slice(&body)
        .map_err(|_| Problem::bad("this is no notification of Alertmanager (version 4, as JSON)"))?;
    if notification.alerts.len() > AT_ONCE {
        return Err(Problem::bad(format!("more than {AT_ONCE} alerts in one request")));
    }
    let (programs, now) = (Programs::load(&state).await?, state.clock.now());
    let about = about.program.as_deref();
    if about.is_some() {
        // Whoever has the address wrong should see it there.
        programs.named(about).map_err(Problem::bad)?;
    }
    let (mut told, mut refused) = (Vec::new(), Vec::new());
    for (place, alert) in (1..).zip(&notification.alerts) {
        match Alert::read(alert, &programs, about, now) {
            Ok(understood) => told.push(understood),
            Err(why) => refused.push((place, why)),
        }
    }
    let mut counts = take(&state, told, now).await?;
    if !refused.is_empty() {
        counts.insert("refused", refused.len() as u64);
        tell_refused(&state, about, &refused, now).await?;
    }
    Ok(Json(json!(counts)))
}

/// Says which alerts were refused: they come again every few minutes, so of many only the first ones leave an audit entry.
async fn tell_refused(
    state: &ApiState,
    about: Option<&str>,
    refused: &[(u64, String)],
    now: Timestamp,
) -> Result<(), Problem> {
    for (place, why) in refused.iter().take(TOLD_REFUSED) {
        tracing::warn!(place, %why, "an alert of a notification is refused");
    }
    let Some(unlisted) = state.metrics.knocks.one_more(now) else { return Ok(()) };
    let first: Vec<Value> =
        refused.iter().take(TOLD_REFUSED).map(|(place, why)| json!({ "alert": place, "why": why })).collect();
    let entry = audit::Entry {
        at: now,
        program: about.unwrap_or_default().to_owned(),
        actor: "hooks/alertmanager".to_owned(),
        action: "alerts.refused".to_owned(),
        object: "POST /hooks/alertmanager".to_owned(),
        detail: json!({ "refused": refused.len(), "first": first, "unlistedBefore": unlisted }),
    };
    let mut tx = state.store.begin().await?;
    audit::append(&mut tx, entry).await?;
    tx.commit().await?;
    Ok(())
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
        let (program, spec) = programs.named(about).map_err(Problem::bad)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let priority = text(&self.data["priority"]["summary"]);
        let theirs = if priority.is_empty() { text(&self.data["urgency"]) } else { priority };
        let key = text(&self.data["id"]);
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
            severity: severity(spec, &theirs),
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
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "signature", error.to_string());
        return Err(refuse_at(&state, "POST /hooks/pagerduty", problem).await);
    }
    let delivery: Delivery = serde_json::from_slice(&body)
        .map_err(|_| Problem::bad("this is no event of PagerDuty's webhooks (version 3)"))?;
    let (programs, now) = (Programs::load(&state).await?, state.clock.now());
    let Some(told) = delivery.event.told(&programs, about.program.as_deref(), now)? else {
        return Ok(Json(json!({ "ignored": 1 })));
    };
    Ok(Json(json!(take(&state, vec![told], now).await?)))
}

/// Takes in all of it, or nothing.
async fn take(state: &ApiState, mut told: Vec<Told>, now: Timestamp) -> Result<BTreeMap<&'static str, u64>, Problem> {
    // In one order, so that two requests that tell of the same never wait for each other in a circle.
    told.sort_by(|a, b| (&a.program, &a.key).cmp(&(&b.program, &b.key)));
    let mut counts = BTreeMap::new();
    let mut tx = state.store.begin().await?;
    for one in &told {
        let word = match incident_feeds::take(&mut tx, one, now).await? {
            Change::Opened => "opened",
            Change::Closed => "closed",
            Change::Reopened => "reopened",
            Change::Changed => "changed",
            Change::Known => "known",
            Change::Late => "late",
            Change::Ignored => "ignored",
        };
        *counts.entry(word).or_default() += 1;
    }
    tx.commit().await?;
    Ok(counts)
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
