//! Product events: the source of the KPIs. A person sends their own; a service with the scope `events:write` sends anybody's.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::auth::{Admin, Caller, refuse_at};
use super::{ApiState, Problem};
use crate::store::events::{self, Event, IngestError, Staff};
use crate::store::{audit, people, status, steps};

/// At most so many events in one request.
const MOST: usize = 1000;
/// While nothing is taken in, a client tries again after this.
const PAUSED: Duration = Duration::from_secs(60);

pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(send))
}

/// What administrators write.
pub fn administration() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(staff))
}

/// One event, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Sent {
    Several(Vec<Value>),
    One(Value),
}

/// Takes events in; one that was taken before (by its id) changes nothing.
#[utoipa::path(post, path = "/v1/events", tag = "events", request_body = Value,
    responses((status = 202, description = "Accepted and repeated"), (status = 422, description = "Which one is wrong, and why"),
        (status = 503, description = "Ingestion is paused: try again later, nothing was taken")))]
async fn send(
    State(state): State<ApiState>,
    caller: Caller,
    Json(sent): Json<Sent>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let sent = match sent {
        Sent::Several(all) => all,
        Sent::One(one) => vec![one],
    };
    if sent.len() > MOST {
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-many", format!("at most {MOST} events at once")));
    }
    let own = match &caller {
        Caller::Person(user) => Some(user.id),
        Caller::Service(..) if caller.may("events:write") => None,
        Caller::Service(..) => {
            return Err(forbidden(&state, "the token lacks the scope events:write").await);
        }
    };
    let mut parsed = Vec::with_capacity(sent.len());
    for (place, mut event) in sent.into_iter().enumerate() {
        let wrong =
            |why: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "event", format!("event {place}: {why}"));
        if let (Some(user), Some(fields)) = (own, event.as_object_mut()) {
            let given = fields.entry("user_id").or_insert_with(|| json!(user)).clone();
            if given != json!(user) {
                return Err(forbidden(&state, &format!("event {place} is another person's")).await);
            }
            fields.entry("id").or_insert_with(|| json!(Uuid::now_v7()));
            fields.entry("occurred_at").or_insert_with(|| json!(state.clock.now()));
        }
        let program = event
            .as_object_mut()
            .and_then(|fields| fields.remove("program"))
            .and_then(|program| program.as_str().map(str::to_owned));
        parsed.push((program, serde_json::from_value::<Event>(event).map_err(|error| wrong(error.to_string()))?));
    }
    let taken = take_in(&state, own.is_some(), parsed).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "accepted": taken.accepted, "duplicates": taken.duplicates }))))
}

async fn forbidden(state: &ApiState, why: &str) -> Problem {
    refuse_at(state, "POST /v1/events", Problem::new(StatusCode::FORBIDDEN, "forbidden", why)).await
}

/// All or nothing, each event in its program: as it says, or the first that its person is in. Who sends their own (`by_person`) can name only a
/// program that they are in: its KPIs are counted from what its people do.
async fn take_in(
    state: &ApiState,
    by_person: bool,
    parsed: Vec<(Option<String>, Event)>,
) -> Result<events::Ingested, Problem> {
    let wrong = |words: &str| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "event", words);
    let mut by_program: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    let (mut known, none): (BTreeMap<Uuid, Vec<String>>, _) = (BTreeMap::new(), Vec::new());
    for (program, event) in parsed {
        let own = match known.entry(event.user_id) {
            // A service says which program it is.
            _ if program.is_some() && !by_person => &none,
            Entry::Occupied(known) => &*known.into_mut(),
            Entry::Vacant(place) => &*place.insert(people::programs(&state.store, event.user_id).await?),
        };
        let program = match program {
            Some(program) if by_person && !own.contains(&program) => {
                return Err(forbidden(state, "you are not in that program").await);
            }
            Some(program) => program,
            None => own.first().cloned().ok_or_else(|| wrong("its person is in no program"))?,
        };
        by_program.entry(program).or_default().push(event);
    }
    let mut total = events::Ingested { accepted: 0, duplicates: 0 };
    let mut zones = Vec::new();
    for (program, events) in by_program {
        zones.push((zone_of(state, &program).await?, program, events));
    }
    let mut tx = state.store.begin().await?;
    for (zone, program, events) in zones {
        if let Some(pause) = steps::paused(&mut tx, &program).await? {
            return Err(Problem::later(
                "ingestion-paused",
                format!("no events are taken in: {}", pause.reason),
                PAUSED,
            ));
        }
        let taken =
            events::ingest(&mut tx, &program, &zone, state.clock.now(), events).await.map_err(|error| match error {
                IngestError::Store(error) => Problem::from(error),
                other => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "event", other.to_string()),
            })?;
        total.accepted += taken.accepted;
        total.duplicates += taken.duplicates;
    }
    tx.commit().await?;
    state.metrics.events(total.accepted);
    Ok(total)
}

/// The zone in which a program's days are counted.
async fn zone_of(state: &ApiState, program: &str) -> Result<TimeZone, Problem> {
    let good = status::good(&state.store, "Program", program).await?;
    let zone = good.as_ref().and_then(|good| good.body["spec"]["timeZone"].as_str());
    let zone = zone.and_then(|zone| TimeZone::get(zone).ok());
    zone.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "not-found", format!("there is no program '{program}'")))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Member {
    gym_id: String,
    user_id: Uuid,
    #[serde(default)]
    cohort: String,
    /// From when on, as a date; today when left out.
    #[schema(value_type = Option<String>)]
    since: Option<jiff::civil::Date>,
    /// Until when, as a date.
    #[schema(value_type = Option<String>)]
    until: Option<jiff::civil::Date>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Roster {
    program: Option<String>,
    staff: Vec<Member>,
}

/// Puts people on the staff roster of gyms.
#[utoipa::path(post, path = "/v1/admin/staff", tag = "events", request_body = Roster, responses((status = 204, description = "Taken over")))]
async fn staff(State(state): State<ApiState>, admin: Admin, Json(roster): Json<Roster>) -> Result<StatusCode, Problem> {
    let program = super::admin::program(&state, roster.program).await?;
    let zone = zone_of(&state, &program).await?;
    let today = events::day_of(state.clock.now(), &zone);
    let staff: Vec<Staff> = roster
        .staff
        .into_iter()
        .map(|member| Staff {
            gym_id: member.gym_id,
            user_id: member.user_id,
            cohort: member.cohort,
            since_day: member.since.map_or(today, events::day_number),
            until_day: member.until.map(events::day_number),
        })
        .collect();
    let mut tx = state.store.begin().await?;
    events::put_staff(&mut tx, &program, &staff).await?;
    let entry = audit::Entry {
        at: state.clock.now(),
        object: format!("Program/{program}"),
        program,
        actor: admin.actor,
        action: "staff.put".to_owned(),
        detail: json!({ "people": staff.len() }),
    };
    audit::append(&mut tx, entry).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
