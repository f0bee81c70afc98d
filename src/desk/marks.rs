//! The view of seed 004's monitor: each check of a gate with its ✅ ⚪ 🔴 at the last reviews and now; and what late data changed of what was sealed.

use betagate_core::decide::{CheckResult, GateVerdict, Outcome, PhaseState, Reading, SealedReview, read_again};
use betagate_core::resources::{Check, Kind, Unit};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::funnel::zone;
use super::stand::number;
use super::{Desk, DeskError};
use crate::store::events::{day_number, day_of};
use crate::store::kpi::{self, Kpi, KpiQuery};
use crate::store::{readings, status};

/// Sealed reviews in which late data is looked for.
const LOOKED_BACK: i64 = 4;

impl Desk<'_> {
    /// Titles and rows of texts: the checks, with their marks at the last `reviews` reviews, oldest first, and now.
    pub(super) async fn marks(&self, program: Option<String>, gate: &str, reviews: i64) -> Result<Value, DeskError> {
        let found = self.one(Kind::Gate, gate).await?;
        if let Some(program) = program.filter(|program| *program != found.program) {
            self.expect_known(&program, Kind::Gate, gate).await?;
        }
        let zone = zone(&status::all_good(self.store).await?, &found.program);
        let now: GateVerdict = serde_json::from_value(found.status["verdict"].clone()).unwrap_or_default();
        let kept = readings::reviews(self.store, &found.program, Some(gate), reviews.clamp(0, 100)).await?;
        let mut sealed: Vec<SealedReview> =
            kept.into_iter().filter_map(|review| serde_json::from_value(review.body).ok()).collect();
        sealed.sort_by_key(|review| review.due_at);
        let phased = !now.phases.is_empty();
        let mut titles: Vec<String> = phased.then(|| "Phase".to_owned()).into_iter().collect();
        titles.push("Check".to_owned());
        titles.extend(
            sealed.iter().map(|review| review.due_at.to_zoned(zone.clone()).strftime("%m-%d %H:%M").to_string()),
        );
        titles.extend(["Now", "Value", "Must be", "Detail"].map(str::to_owned));
        // A checklist is read phase by phase.
        let mut checks: Vec<&CheckResult> = now.checks.iter().collect();
        checks.sort_by_key(|check| now.phases.iter().position(|phase| check.phase.as_ref() == Some(&phase.name)));
        let rows = checks.into_iter().map(|check| {
            let mut row: Vec<String> = phased.then(|| check.phase.clone().unwrap_or_default()).into_iter().collect();
            row.push(check.name.clone());
            row.extend(sealed.iter().map(|review| {
                let then = review.verdict.checks.iter().find(|then| then.name == check.name);
                then.map_or("·", |then| then.state.mark()).to_owned()
            }));
            let pass = check.pass.as_ref().map_or_else(String::new, ToString::to_string);
            row.extend([check.state.mark().to_owned(), value(check), pass, check.detail.clone()]);
            row
        });
        let rows: Vec<Vec<String>> = rows.collect();
        let count = |mark: &str| now.checks.iter().filter(|check| check.state.mark() == mark).count();
        let counts = json!({ "met": count("✅"), "unknown": count("⚪"), "missed": count("🔴") });
        Ok(json!({ "program": found.program, "gate": gate, "verdict": now.verdict.to_string(), "reason": now.reason,
            "titles": titles, "rows": rows, "counts": counts, "phases": phases(&now, &zone) }))
    }

    /// What the KPIs of the last sealed reviews count now, where that is not what was sealed. The sealed verdict stays.
    pub(super) async fn late_data(&self, gate: &str) -> Result<Value, DeskError> {
        let program = self.one(Kind::Gate, gate).await?.program;
        let good = status::all_good(self.store).await?;
        let body = |kind: &str, name: &str| {
            let one = good.iter().find(|good| good.kind == kind && good.program == program && good.name == name);
            one.map(|good| good.body.clone()).unwrap_or_default()
        };
        let zone = zone(&good, &program);
        let Some(day0) = body("Program", &program)["day0"].as_str().and_then(|text| text.parse::<Date>().ok()) else {
            return Ok(json!([]));
        };
        let spec = body("Gate", gate);
        let cohorts: Vec<String> = serde_json::from_value(spec["cohorts"].clone()).unwrap_or_default();
        let checks: Vec<Check> = serde_json::from_value(spec["checks"].clone()).unwrap_or_default();
        let mut late = Vec::new();
        for review in readings::reviews(self.store, &program, Some(gate), LOOKED_BACK).await? {
            let Ok(sealed) = serde_json::from_value::<SealedReview>(review.body) else { continue };
            let about =
                KpiQuery::week(&program, &cohorts, day_number(day0), day_of(sealed.due_at, &zone), zone.clone());
            for check in &checks {
                let kpi = check.kpi.as_deref().and_then(|name| Kpi::from_name(name).ok());
                let then = sealed.verdict.checks.iter().find(|then| then.name == check.name);
                let (Some(kpi), Some(then)) = (kpi, then) else { continue };
                let Some(before) = counts(then) else { continue };
                let counted = kpi::count(self.store, kpi, &about).await?;
                let reading = Reading::ratio(counted.numerator, counted.denominator, sealed.due_at);
                let Some((state, reading)) = read_again(check, then, reading) else { continue };
                #[allow(clippy::cast_precision_loss, reason = "counts of people and events stay far below 2^52")]
                let now = counts_of(&reading).unwrap_or((counted.numerator as f64, counted.denominator as f64));
                if now == before {
                    continue;
                }
                late.push(json!({ "dueAt": sealed.due_at, "verdict": sealed.verdict.verdict.to_string(), "check": check.name,
                    "sealed": [before.0, before.1], "now": [now.0, now.1], "was": then.state.mark(), "is": state.mark() }));
            }
        }
        Ok(json!(late))
    }
}

/// The phases of a checklist in rows of texts: name, when it began, by when it is to be done, where it stands.
pub(super) fn phases(verdict: &GateVerdict, zone: &TimeZone) -> Vec<[String; 4]> {
    let when = |at: Option<Timestamp>| {
        at.map_or_else(String::new, |at| at.to_zoned(zone.clone()).strftime("%F %H:%M").to_string())
    };
    let row = |phase: &PhaseState| [phase.name.clone(), when(phase.since), when(phase.due), phase.words()];
    verdict.phases.iter().map(row).collect()
}

fn counts(check: &CheckResult) -> Option<(f64, f64)> {
    check.reading.as_ref().and_then(counts_of)
}

fn counts_of(reading: &Reading) -> Option<(f64, f64)> {
    match &reading.outcome {
        Outcome::Value { numerator: Some(n), denominator: Some(d), .. } => Some((*n, *d)),
        _ => None,
    }
}

/// What was measured, with its counts; the reason, where nothing was.
fn value(check: &CheckResult) -> String {
    let unit: Option<Unit> = check.pass.as_ref().map(|pass| pass.unit);
    match check.reading.as_ref().map(|reading| &reading.outcome) {
        Some(Outcome::Value { value, numerator: Some(n), denominator: Some(d), .. }) => {
            format!("{} ({} of {})", number(*value, unit), number(*n, None), number(*d, None))
        }
        Some(Outcome::Value { value, .. }) => number(*value, unit),
        Some(Outcome::Unknown(why)) => why.to_string(),
        None => String::new(),
    }
}
