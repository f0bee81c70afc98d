//! `betagate signoff`, `incident`, `freeze`: people's words.

use std::process::ExitCode;

use betagate_core::resources::{Kind, Moment, Says, SignoffSpec, Span};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::common::{expect_known, only_program, unknown};
use super::{CliError, Where};
use crate::clock::Clock;
use crate::controller::in_its_calendar;
use crate::store::audit::{self, Entry};
use crate::store::freezes::{self, Freeze};
use crate::store::incidents::{self, Incident};
use crate::store::invites;
use crate::store::signoffs::{self, Signoff};
use crate::store::{Store, Tx, status};

/// An entry about what was said.
pub(super) async fn note(
    tx: &mut Tx,
    program: &str,
    by: &str,
    action: &str,
    object: String,
    detail: Value,
    at: Timestamp,
) -> Result<(), CliError> {
    // Who it is is not proven: whoever can write the record can say any name.
    let actor = format!("cli/{by} (unverified)");
    audit::append(tx, Entry { at, program: program.to_owned(), actor, action: action.to_owned(), object, detail })
        .await?;
    Ok(())
}

/// Records a person's word: done, go, no-go, accept-mitigation, waive, acknowledge, lift.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  betagate signoff go --by founder --rollout closed-beta --stage us-eu\n  betagate signoff done --by ops-lead --gate pavia-readiness --check runbook-owner"
)]
pub struct Sign {
    /// What is said.
    says: String,
    /// Who says it: a name from the program's people.
    #[arg(long)]
    by: String,
    /// The program; the only one when left out.
    #[arg(long)]
    program: Option<String>,
    /// The gate, for done, waive, accept-mitigation.
    #[arg(long)]
    gate: Option<String>,
    /// The check, for done, waive, accept-mitigation.
    #[arg(long)]
    check: Option<String>,
    /// The rollout, for go, no-go.
    #[arg(long)]
    rollout: Option<String>,
    /// The stage, for go, no-go.
    #[arg(long)]
    stage: Option<String>,
    /// The run, for lift.
    #[arg(long)]
    run: Option<String>,
    /// The object, KIND/NAME, for acknowledge.
    #[arg(long)]
    object: Option<String>,
    /// The digest that plan printed, for acknowledge.
    #[arg(long)]
    digest: Option<String>,
    /// Why.
    #[arg(long)]
    note: Option<String>,
    /// Until when it counts: a date or an instant.
    #[arg(long)]
    until: Option<Moment>,
    #[command(flatten)]
    place: Where,
}

impl Sign {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        let says: Says = serde_json::from_value(json!(self.says)).map_err(|_| {
            CliError::Usage(format!(
                "'{}' is nothing to say; done, go, no-go, accept-mitigation, waive, acknowledge or lift",
                self.says
            ))
        })?;
        let missing = |what: &str| CliError::Usage(format!("{} needs {what}", self.says));
        match says {
            Says::Done if self.gate.is_none() || self.check.is_none() => return Err(missing("--gate and --check")),
            Says::Go | Says::NoGo if self.rollout.is_none() || self.stage.is_none() => {
                return Err(missing("--rollout and --stage"));
            }
            Says::Lift if self.run.is_none() => return Err(missing("--run")),
            Says::Acknowledge if self.object.is_none() || self.digest.is_none() => {
                return Err(missing("--object and --digest"));
            }
            Says::Waive | Says::AcceptMitigation
                if self.gate.is_none() || self.check.is_none() || self.note.is_none() || self.until.is_none() =>
            {
                return Err(missing("--gate, --check, --note and --until"));
            }
            _ => {}
        }
        let store = self.place.store().await?;
        let program = only_program(&store, self.program).await?;
        let spec = SignoffSpec {
            program: program.clone(),
            by: self.by.clone(),
            says,
            gate: self.gate,
            check: self.check,
            rollout: self.rollout,
            stage: self.stage,
            run: self.run,
            object: self.object,
            digest: self.digest,
            note: self.note,
            until: self.until,
        };
        expect_about(&store, &program, &spec).await?;
        let name = say(&store, &program, spec).await?;
        say!("recorded as {name}");
        Ok(ExitCode::SUCCESS)
    }
}

/// Refuses a word about a gate, check, rollout or run that is not there: it would be kept, and count for nothing.
async fn expect_about(store: &Store, program: &str, spec: &SignoffSpec) -> Result<(), CliError> {
    if let Some(rollout) = &spec.rollout {
        expect_known(store, program, Kind::Rollout, rollout).await?;
    }
    if let Some(run) = &spec.run {
        expect_known(store, program, Kind::Rollback, run).await?;
    }
    let Some(gate) = &spec.gate else { return Ok(()) };
    expect_known(store, program, Kind::Gate, gate).await?;
    let all = status::all_good(store).await?;
    let good = all.iter().find(|good| good.kind == "Gate" && good.program == program && good.name == *gate);
    let checks = good.and_then(|good| good.body["checks"].as_array()).into_iter().flatten();
    let checks: Vec<String> = checks.filter_map(|check| check["name"].as_str().map(str::to_owned)).collect();
    match &spec.check {
        Some(check) if !checks.contains(check) => Err(unknown("check", check, &format!("gate '{gate}'"), &checks)),
        _ => Ok(()),
    }
}

/// Records a word of one of the program's people.
pub(super) async fn say(store: &Store, program: &str, spec: SignoffSpec) -> Result<String, CliError> {
    let people = program_people(store, program).await?;
    if !people.contains(&spec.by) {
        return Err(CliError::Failed(format!(
            "there is no person '{}' in program '{program}'; there are {}",
            spec.by,
            people.join(", ")
        )));
    }
    let spec = in_its_calendar(store, program, spec).await?;
    let now = Clock::system().now();
    let name = format!("recorded-{}", Uuid::now_v7());
    let mut tx = store.begin().await?;
    signoffs::record(&mut tx, &Signoff::recorded(&name, &spec, now, "cli")).await?;
    note(&mut tx, program, &spec.by, "signoff.recorded", format!("Signoff/{name}"), json!(spec), now).await?;
    tx.commit().await?;
    Ok(name)
}

async fn program_people(store: &Store, program: &str) -> Result<Vec<String>, CliError> {
    let all = status::all_good(store).await?;
    let good = all.iter().find(|good| good.kind == "Program" && good.name == program);
    let people = good.and_then(|good| good.body["spec"]["people"].as_object());
    Ok(people.into_iter().flatten().map(|(name, _)| name.clone()).collect())
}

/// Opens and closes incidents.
#[derive(Args)]
#[command(after_help = "Example: betagate incident close sync-outage --by founder")]
pub struct IncidentCommand {
    #[command(subcommand)]
    what: IncidentWhat,
}

#[derive(Subcommand)]
enum IncidentWhat {
    /// Opens one.
    #[command(
        after_help = "Example: betagate incident open sync-outage --severity sev-1 --title \"Sync is down\" --by founder"
    )]
    Open {
        /// Its name.
        name: String,
        /// sev-1 (worst) to sev-4.
        #[arg(long, value_parser = ["sev-1", "sev-2", "sev-3", "sev-4"])]
        severity: String,
        /// What is wrong, in a few words.
        #[arg(long)]
        title: String,
        /// What kind of trouble, such as security.
        #[arg(long, default_value = "")]
        category: String,
        /// Since how long.
        #[arg(long, default_value = "0s")]
        ago: Span,
        /// Who says so.
        #[arg(long)]
        by: String,
        /// The program; the only one when left out.
        #[arg(long)]
        program: Option<String>,
        #[command(flatten)]
        place: Where,
    },
    /// Closes one.
    #[command(after_help = "Example: betagate incident close sync-outage --by founder")]
    Close {
        /// Its name.
        name: String,
        /// Who says so.
        #[arg(long)]
        by: String,
        /// The program; the only one when left out.
        #[arg(long)]
        program: Option<String>,
        #[command(flatten)]
        place: Where,
    },
}

impl IncidentCommand {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        let now = Clock::system().now();
        match self.what {
            IncidentWhat::Open { name, severity, title, category, ago, by, program, place } => {
                let store = place.store().await?;
                let program = only_program(&store, program).await?;
                let started_at = ago.before(now);
                let detail = json!({ "severity": severity, "title": title, "startedAt": started_at });
                let object = format!("Incident/{name}");
                let incident = Incident {
                    program: program.clone(),
                    name,
                    severity,
                    category,
                    title,
                    started_at,
                    resolved_at: None,
                    acknowledged_at: None,
                    source: "cli".to_owned(),
                    first_seen: now,
                };
                let mut tx = store.begin().await?;
                incidents::open(&mut tx, &incident).await?;
                note(&mut tx, &program, &by, "incident.opened", object, detail, now).await?;
                tx.commit().await?;
            }
            IncidentWhat::Close { name, by, program, place } => {
                let store = place.store().await?;
                let program = only_program(&store, program).await?;
                let mut tx = store.begin().await?;
                if !incidents::close(&mut tx, &program, &name, now).await? {
                    return Err(CliError::Failed(format!("there is no open incident '{name}' in program '{program}'")));
                }
                note(&mut tx, &program, &by, "incident.closed", format!("Incident/{name}"), json!({}), now).await?;
                tx.commit().await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Break glass: freezes a program's invites, with no controller running. The next controller adopts it as a run.
#[derive(Args)]
#[command(
    name = "freeze",
    after_help = "Example: betagate freeze --program kruxt --reason \"codes leaked\" --by founder"
)]
pub struct FreezeNow {
    /// The program; the only one when left out.
    #[arg(long)]
    program: Option<String>,
    /// Only this cohort.
    #[arg(long)]
    cohort: Option<String>,
    /// Why.
    #[arg(long)]
    reason: String,
    /// Who says so.
    #[arg(long)]
    by: String,
    #[command(flatten)]
    place: Where,
}

impl FreezeNow {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        let store = self.place.store().await?;
        let program = only_program(&store, self.program).await?;
        // A cohort with rows is known to the database itself, whatever the documents say by now.
        if let Some(cohort) = &self.cohort
            && invites::cohort_state(&store, &program, cohort).await?.is_none()
        {
            // In an emergency nothing is worse than a freeze that holds nobody.
            expect_known(&store, &program, Kind::Cohort, cohort).await?;
        }
        let since = Clock::system().now();
        let freeze = Freeze {
            program: program.clone(),
            cohort: self.cohort.clone().unwrap_or_default(),
            holder: format!("hand:{}", self.by),
            reason: self.reason.clone(),
            since,
        };
        let mut tx = store.begin().await?;
        freezes::freeze(&mut tx, &freeze).await?;
        note(
            &mut tx,
            &program,
            &self.by,
            "frozen",
            format!("Program/{program}"),
            json!({ "cohort": self.cohort, "reason": self.reason }),
            since,
        )
        .await?;
        tx.commit().await?;
        say!(
            "invites of {} are frozen",
            self.cohort.map_or_else(|| format!("program {program}"), |cohort| format!("cohort {cohort}"))
        );
        Ok(ExitCode::SUCCESS)
    }
}
