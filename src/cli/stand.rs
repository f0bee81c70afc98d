//! `betagate status`, `get`, `why`: where things stand.

use std::process::ExitCode;

use betagate_core::resources::Kind;
use clap::Args;
use serde_json::Value;

use super::common::{in_lines, moment, plain, print_value, table, terminal_width};
use super::{ATTENTION, CliError, Format, Where};
use crate::desk::Request;

/// Shows where everything stands: programs, stages, gates, rollbacks, cohorts, and the source of documents.
#[derive(Args)]
#[command(
    after_help = "Example: betagate status -o json    # 0: nothing waits for a person, 2: something does, or is held or wrong"
)]
pub struct Status {
    #[command(flatten)]
    place: Where,
    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Status {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        let answer = self.place.ask(Request::Status).await?;
        if self.place.database.is_none() && !self.place.has_server()? {
            complain!("no betagate runs on this data folder, as far as it says: this is the record as it was left");
        }
        let list = |name: &str| answer[name].as_array().map_or(&[][..], Vec::as_slice);
        let (all, sources) = (list("resources"), list("sources"));
        let problems: Vec<String> = sources
            .iter()
            .flat_map(|source| source["state"]["problems"].as_array().into_iter().flatten())
            .filter_map(|problem| problem.as_str().map(str::to_owned))
            .collect();
        let failure = sources.iter().find_map(|source| source["state"]["source"]["failure"]["message"].as_str());
        if self.output == Format::Table {
            for source in sources {
                let revision = source["revision"].as_str().unwrap_or("none yet");
                say!(
                    "source {} at revision {}",
                    source["state"]["source"]["place"].as_str().unwrap_or("?"),
                    revision.chars().take(12).collect::<String>()
                );
            }
            if let Some(failure) = failure {
                say!("  it can't be read: {failure}");
            }
            for problem in &problems {
                say!("  {problem}");
            }
            // A thousand flags that are served as they are written are no news, nor are words that count.
            let is_usual = |one: &&Value| match one["kind"].as_str() {
                Some("Flag") => one["status"]["state"] == "Served",
                Some("Signoff") => one["status"]["state"] != "NotCounted",
                _ => false,
            };
            let rows: Vec<_> = all.iter().filter(|one| !is_usual(one)).map(row).collect();
            say!("{}", table(&["OBJECT", "STATE", "SUMMARY"], in_lines(rows, terminal_width())));
            list("mail").iter().for_each(show_mail);
        } else {
            print_value(&answer, self.output)?;
        }
        let waits = |program: &Value| program["waits"].as_array().is_some_and(|waits| !waits.is_empty());
        let in_doubt = |program: &Value| {
            let mut cohorts = program["cohorts"].as_object().into_iter().flatten();
            cohorts.any(|(_, counts)| !counts["uncertain"].is_null())
        };
        let mail_troubled = list("mail").iter().any(|program| waits(program) || in_doubt(program));
        let troubled = mail_troubled
            || !problems.is_empty()
            || failure.is_some()
            || all.iter().any(|one| one["status"]["needsSomebody"] == true);
        Ok(if troubled { ExitCode::from(ATTENTION) } else { ExitCode::SUCCESS })
    }
}

/// How the mail of a program's invites stands: counts by cohort, and why it waits.
fn show_mail(program: &Value) {
    let name = plain(&program["program"]);
    for (cohort, counts) in program["cohorts"].as_object().into_iter().flatten() {
        let counts = counts.as_object().into_iter().flatten();
        let counts: Vec<String> = counts.map(|(state, count)| format!("{count} {state}")).collect();
        say!("mail of {name}/{cohort}: {}", counts.join(", "));
    }
    for wait in program["waits"].as_array().into_iter().flatten() {
        let cohort = wait["cohort"].as_str().filter(|cohort| !cohort.is_empty());
        let whose = cohort.map_or_else(|| format!("of {name}"), |cohort| format!("of {name}/{cohort}"));
        let again = wait["until"].as_str().map(|_| format!("; tried again at {}", moment(&wait["until"])));
        let again = again.unwrap_or_default();
        say!("mail {whose} waits since {}: {}{again}", moment(&wait["since"]), plain(&wait["reason"]));
    }
}

/// Shows the resources of a kind, or one of them.
#[derive(Args)]
#[command(after_help = "Examples:\n  betagate get gates\n  betagate get rollout closed-beta -o json")]
pub struct Get {
    /// The kind: gates, rollouts, cohorts, rollbacks, …
    kind: Kind,
    /// One of them.
    name: Option<String>,
    #[command(flatten)]
    place: Where,
    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Get {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        let one = self.name.is_some();
        let answer = self.place.ask(Request::Get { kind: self.kind.name().to_owned(), name: self.name }).await?;
        let found = if one { vec![answer] } else { answer.as_array().cloned().unwrap_or_default() };
        if self.output == Format::Table {
            say!("{}", table(&["OBJECT", "STATE", "SUMMARY"], found.iter().map(row)));
            if let Some(funnel) =
                found.first().filter(|_| one).map(|one| &one["status"]["funnel"]).filter(|it| it.is_object())
            {
                say!("\n{}", table(&FUNNEL, funnel_rows("all", funnel)));
            }
        } else {
            print_value(&found, self.output)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The columns of a funnel.
pub(super) const FUNNEL: [&str; 6] = ["PEOPLE", "INVITED", "SENT", "OPENED", "IN", "ACTIVE"];

/// A funnel in rows: everyone, then each label.
pub(super) fn funnel_rows(everyone: &str, funnel: &Value) -> Vec<Vec<String>> {
    let row = |name: &str, funnel: &Value| {
        let steps = ["invited", "sent", "opened", "used", "active"].map(|step| plain(&funnel[step]));
        std::iter::once(name.to_owned()).chain(steps).collect::<Vec<String>>()
    };
    let labels = funnel["labels"].as_array().into_iter().flatten().map(|one| match one["label"].as_str() {
        Some("") | None => row("  (no label)", one),
        Some(label) => row(&format!("  {label}"), one),
    });
    std::iter::once(row(everyone, funnel)).chain(labels).collect()
}

/// Says what a resource waits for, and who can give it.
#[derive(Args)]
#[command(after_help = "Example: betagate why rollout/closed-beta    # 0: it waits for nothing, 2: it waits")]
pub struct Why {
    /// Which, as KIND/NAME.
    object: String,
    #[command(flatten)]
    place: Where,
    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Why {
    pub async fn run(self) -> Result<ExitCode, CliError> {
        let (kind, name) = self
            .object
            .split_once('/')
            .ok_or_else(|| CliError::Usage("say KIND/NAME, such as rollout/closed-beta".to_owned()))?;
        let kind: Kind = kind.parse().map_err(CliError::Usage)?;
        let request = Request::Get { kind: kind.name().to_owned(), name: Some(name.to_owned()) };
        let found = self.place.ask(request).await?;
        let waits = found["status"]["waits"].as_array().cloned().unwrap_or_default();
        if self.output == Format::Table {
            let text = |field: &str| found["status"][field].as_str().unwrap_or_default().to_owned();
            say!("{}/{name} is {}: {}", kind.name(), text("state"), text("summary"));
            if waits.is_empty() {
                say!("It waits for nothing.");
            } else {
                let rows = waits.iter().map(|wait| vec![plain(&wait["on"]), plain(&wait["from"])]);
                say!("{}", table(&["IT WAITS FOR", "FROM"], rows));
            }
            say_effects(&found);
        } else {
            print_value(&found, self.output)?;
        }
        Ok(if waits.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(ATTENTION) })
    }
}

/// What a run or a rollout wrote outside, and where it is.
pub(super) fn say_effects(found: &Value) {
    for effect in found["effects"].as_array().into_iter().flatten() {
        let what = match effect["kind"].as_str().unwrap_or_default() {
            "pull" => "pull request",
            "proposal" => "branch",
            "document" => "cause document",
            other => other,
        };
        match effect["error"].as_str().filter(|_| effect["state"] != "done") {
            Some(error) => say!("{what}: {error}"),
            None if effect["reference"].is_string() => say!("{what}: {}", plain(&effect["reference"])),
            None => say!("{what}: asked for"),
        }
    }
}

fn row(one: &Value) -> Vec<String> {
    let object = format!("{}/{}", plain(&one["kind"]), plain(&one["name"]));
    let funnel = &one["status"]["funnel"];
    let count = |step: &str| plain(&funnel[step]);
    let mut summary = plain(&one["status"]["summary"]);
    if funnel["invited"].as_i64().is_some_and(|invited| invited > 0) {
        let (invited, sent, opened) = (count("invited"), count("sent"), count("opened"));
        let (used, active) = (count("used"), count("active"));
        summary = format!("{summary}; {invited} invited, {sent} sent, {opened} opened, {used} in, {active} active");
    }
    vec![object, plain(&one["status"]["state"]), summary]
}
