//! Where things stand: statuses, the board, the log.

use betagate_core::decide::{CheckState, GateVerdict, Outcome, SealedReview};
use betagate_core::desired::nearest::nearest;
use betagate_core::resources::{Kind, Unit};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::funnel::{self, zone};
use super::marks::phases;
use super::{Desk, DeskError};
use crate::evidence;
use crate::store::status::{self, LastGood, ResourceStatus};
use crate::store::{audit, kpi, outbox, readings};

/// Reviews on a board at most: ten years of weeks.
const MOST_REVIEWS: i64 = 520;

impl Desk<'_> {
    pub(super) async fn status(&self) -> Result<Value, DeskError> {
        let all = status::list(self.store, None).await?;
        let sources = status::sources(self.store).await?;
        let sources: Vec<Value> = sources
            .iter()
            .map(|source| json!({ "revision": source.revision, "state": source.body, "updatedAt": source.updated_at }))
            .collect();
        let resources = self.with_funnels(&all, false).await?;
        Ok(json!({ "resources": resources, "sources": sources, "mail": self.mail().await? }))
    }

    /// A list of statuses, or one.
    pub(super) async fn get(&self, kind: &str, name: Option<&str>) -> Result<Value, DeskError> {
        let kind: Kind = kind.parse().map_err(DeskError::Usage)?;
        match name {
            Some(name) => {
                let one = self.one(kind, name).await?;
                let effects = self.effects(kind, &one).await?;
                let mut found = self.with_funnels(&[one], true).await?.pop().unwrap_or_default();
                if !effects.is_empty() {
                    found["effects"] = effects.into();
                }
                Ok(found)
            }
            None => {
                let all = status::list(self.store, Some(kind.name())).await?;
                Ok(self.with_funnels(&all, true).await?.into())
            }
        }
    }

    /// What a run or a rollout wrote outside: documents, branches, pull requests, tags, minutes; each with its receipt, or why it was not taken yet.
    async fn effects(&self, kind: Kind, of: &ResourceStatus) -> Result<Vec<Value>, DeskError> {
        let prefix = match kind {
            Kind::Rollback => format!("{}/", of.name),
            Kind::Rollout => format!("{}/rollout/{}/", of.program, of.name),
            _ => return Ok(Vec::new()),
        };
        let written = |message: &outbox::Message| {
            matches!(message.intent.kind.as_str(), "document" | "proposal" | "pull" | "tag" | "minutes")
        };
        let messages = outbox::by_prefix(self.store, &prefix).await?;
        let shown = messages.iter().filter(|message| written(message)).map(|message| {
            let reference = message.receipt.as_ref().map(|receipt| receipt["reference"].clone());
            json!({ "kind": message.intent.kind, "state": message.state.as_str(), "reference": reference, "error": message.last_error })
        });
        Ok(shown.collect())
    }

    /// Statuses as they are shown, those of cohorts with how far their people got.
    async fn with_funnels(&self, all: &[ResourceStatus], labels: bool) -> Result<Vec<Value>, DeskError> {
        let cohorts: Vec<_> = all.iter().filter(|status| status.kind == "Cohort").cloned().collect();
        let mut funnels = funnel::of_cohorts(self.store, &cohorts, self.now).await?.into_iter();
        let shown = all.iter().map(|status| {
            let mut one = shown(status);
            // Counted in the same order.
            if status.kind == "Cohort"
                && let Some(found) = funnels.next()
            {
                one["status"]["funnel"] = funnel::shown(&found, labels);
            }
            one
        });
        Ok(shown.collect())
    }

    pub(super) async fn one(&self, kind: Kind, name: &str) -> Result<ResourceStatus, DeskError> {
        if let Some(found) = status::get(self.store, kind.name(), name).await? {
            return Ok(found);
        }
        let known = status::list(self.store, Some(kind.name())).await?;
        let near = nearest(name, known.iter().map(|status| status.name.as_str()));
        let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        Err(DeskError::Unknown(format!("there is no {} '{name}'{hint}", kind.name().to_lowercase())))
    }

    /// The board of a gate (seed 002, section 3): `titles`, and `rows` of texts, oldest first.
    pub(super) async fn board(&self, program: Option<String>, gate: Option<String>) -> Result<Value, DeskError> {
        let program = self.program_of(program, gate.as_deref().map(|gate| (Kind::Gate, gate))).await?;
        let gate = match gate {
            Some(gate) => gate,
            None => self.kpi_gate(&program).await?,
        };
        let good = status::all_good(self.store).await?;
        let zone = zone(&good, &program);
        let columns = columns(&good, &program, &gate)?;
        let mut reviews = readings::reviews(self.store, &program, Some(&gate), MOST_REVIEWS).await?;
        reviews.sort_by_key(|review| review.due_at);
        let rows = reviews.into_iter().filter_map(|review| {
            let note = review.body["note"].as_str().map(str::to_owned);
            let sealed: SealedReview = serde_json::from_value(review.body).ok()?;
            Some(row(&sealed, note, &columns, &zone))
        });
        let rows: Vec<Vec<String>> = rows.collect();
        let mut titles = vec!["Week Of".to_owned(), "Cohort".to_owned()];
        titles.extend(columns.iter().map(|(_, title)| title.clone()));
        titles.extend(["Gate Status".to_owned(), "Notes".to_owned()]);
        let cohorts = status::list(self.store, Some("Cohort")).await?;
        let cohorts: Vec<_> = cohorts.into_iter().filter(|status| status.program == program).collect();
        let funnels = funnel::of_cohorts(self.store, &cohorts, self.now).await?;
        let funnels = funnels.iter().map(|found| {
            let mut one = funnel::shown(found, true);
            one["cohort"] = json!(found.cohort);
            one
        });
        let funnels: Vec<Value> = funnels.collect();
        let live = self.one(Kind::Gate, &gate).await?.status;
        let live: GateVerdict = serde_json::from_value(live["verdict"].clone()).unwrap_or_default();
        let phases = phases(&live, &zone);
        Ok(
            json!({ "program": program, "gate": gate, "titles": titles, "rows": rows, "funnels": funnels, "phases": phases }),
        )
    }

    /// The gate with the most checks that are measured: the board of a program that names none.
    async fn kpi_gate(&self, program: &str) -> Result<String, DeskError> {
        let gates = status::list(self.store, Some("Gate")).await?;
        let measured = |gate: &ResourceStatus| {
            let checks = gate.status["verdict"]["checks"].as_array().into_iter().flatten();
            checks.filter(|check| check["reading"].is_object()).count().min(kpi::Kpi::ALL.len())
        };
        let own = gates.into_iter().filter(|gate| gate.program == program);
        let most = own.max_by_key(measured);
        most.map(|gate| gate.name).ok_or_else(|| DeskError::Unknown(format!("program '{program}' has no gate yet")))
    }

    pub(super) async fn list_audit(
        &self,
        program: Option<String>,
        object: Option<String>,
        limit: i64,
    ) -> Result<Value, DeskError> {
        let limit = Some(limit.clamp(1, 10_000));
        let filter = audit::Filter { program, object, limit, ..audit::Filter::default() };
        let entries = audit::list(self.store, &filter).await?;
        let shown = entries.iter().map(|kept| {
            let entry = &kept.entry;
            json!({ "seq": kept.seq, "at": entry.at, "program": entry.program, "actor": entry.actor, "action": entry.action,
                "object": entry.object, "detail": entry.detail })
        });
        Ok(shown.collect())
    }

    /// The readings that are kept of a program's checks, or of one gate's.
    pub(super) async fn readings(&self, program: Option<String>, gate: Option<String>) -> Result<Value, DeskError> {
        let program = self.program(program).await?;
        if let Some(gate) = &gate {
            self.expect_known(&program, Kind::Gate, gate).await?;
        }
        let kept = readings::of_program(self.store, &program, gate.as_deref()).await?;
        let shown = kept.iter().map(|row| json!({ "gate": row.gate, "check": row.check, "reading": row.body }));
        Ok(shown.collect())
    }

    /// The evidence of a run: its files, and where the log ended.
    pub(super) async fn bundle(
        &self,
        run: &str,
        documents: std::collections::BTreeMap<String, String>,
    ) -> Result<Value, DeskError> {
        let program = self.one(Kind::Rollback, run).await?.program;
        let actor = match &self.bringer {
            super::Bringer::Record => "cli".to_owned(),
            super::Bringer::Caller(caller) => caller.clone(),
        };
        match evidence::gather(self.store, (&program, run), documents, (&actor, self.now)).await {
            Ok((files, head)) => Ok(json!({ "files": files, "head": head })),
            Err(evidence::GatherError::Store(error)) => Err(error.into()),
            Err(error) => Err(DeskError::Unknown(error.to_string())),
        }
    }

    pub(super) async fn verify_audit(&self) -> Result<Value, DeskError> {
        let found = audit::verify(self.store).await?;
        let problem = found.problem.as_ref().map(|problem| {
            let entry = problem.seq.map_or_else(|| "none".to_owned(), |seq| seq.to_string());
            format!("link {} (entry {entry}): {:?}", problem.link, problem.what)
        });
        Ok(json!({ "chained": found.chained, "waiting": found.waiting, "problem": problem }))
    }
}

fn shown(status: &ResourceStatus) -> Value {
    json!({ "kind": status.kind, "name": status.name, "program": status.program, "status": status.status, "updatedAt": status.updated_at })
}

/// The names of a gate's checks, and the titles of their columns.
fn columns(good: &[LastGood], program: &str, gate: &str) -> Result<Vec<(String, String)>, DeskError> {
    let spec = good.iter().find(|good| good.kind == "Gate" && good.program == program && good.name == gate);
    let spec = spec.ok_or_else(|| DeskError::Unknown(format!("there is no gate '{gate}' in program '{program}'")))?;
    let checks = spec.body["checks"].as_array().cloned().unwrap_or_default();
    let title =
        |check: &Value| check["column"].as_str().or_else(|| check["name"].as_str()).unwrap_or_default().to_owned();
    let named = checks.iter().map(|check| (check["name"].as_str().unwrap_or_default().to_owned(), title(check)));
    Ok(named.filter(|(_, title)| !title.is_empty()).collect())
}

fn row(review: &SealedReview, note: Option<String>, columns: &[(String, String)], zone: &TimeZone) -> Vec<String> {
    let cohorts = if review.cohorts.is_empty() { "-".to_owned() } else { review.cohorts.join(" + ") };
    let mut row = vec![review.due_at.to_zoned(zone.clone()).date().to_string(), cohorts];
    for (name, _) in columns {
        let check = review.verdict.checks.iter().find(|check| check.name == *name);
        row.push(check.map_or_else(
            || "-".to_owned(),
            |check| match (&check.state, check.reading.as_ref().map(|reading| &reading.outcome)) {
                (CheckState::NotDue | CheckState::Waived, _) => "-".to_owned(),
                (_, Some(Outcome::Value { value, .. })) => number(*value, check.pass.as_ref().map(|pass| pass.unit)),
                (state, _) => state.mark().to_owned(),
            },
        ));
    }
    row.push(review.verdict.verdict.to_string());
    row.push(note.unwrap_or_else(|| review.verdict.reason.clone()));
    row
}

/// A measured value in its unit.
pub fn number(value: f64, unit: Option<Unit>) -> String {
    match unit {
        Some(Unit::Percent) => format!("{:.1}%", value * 100.0),
        _ if value.fract() == 0.0 => format!("{value}"),
        _ => format!("{value:.2}"),
    }
}
