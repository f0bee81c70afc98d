//! `betagate simulate`: what would have happened.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use betagate_core::desired::{Built, ProgramDesired, Resource};
use betagate_core::resources::{GateSpec, Span};
use betagate_core::simulate::{Assume, Entry, Line, Recorded, Setting, Simulation, simulate};
use clap::{Args, ValueEnum};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::common::{print_value, table};
use super::documents::{built, documents_at};
use super::simulate_history::{board, lines};
use super::{ATTENTION, CliError, FAILED, Format};
use crate::source::{Snapshot, read_folder};

/// How long after the last thing that a history tells it is played on.
const PLAYED_ON: SignedDuration = SignedDuration::from_hours(8 * 24);

/// What is taken for granted where the history says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Assumed {
    /// Everybody who may sign a checklist's item, or say GO, does.
    Signed,
    /// Measured checks that the history never mentions meet their thresholds.
    Met,
}

/// Plays a history of readings through the same decisions on a virtual clock: verdicts, stages, rollbacks, holds, messages. Nothing is
/// changed, nothing is sent, no server is asked.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  betagate board --program kruxt --format csv > board.csv && betagate simulate --program kruxt --board board.csv\n  \
    betagate gate history --program kruxt > readings.jsonl && betagate simulate --program kruxt --history readings.jsonl --assume signed\n  \
    betagate simulate --program kruxt --board board.csv --base origin/main    # what a changed threshold would have done: 0 nothing else, 2 something else"
)]
pub struct Simulate {
    /// The folder with manifests/, cohorts/ and flags/.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The program; the only one when left out.
    #[arg(long)]
    program: Option<String>,
    /// A weekly tracking board as CSV, as `betagate board` prints it; - for standard input.
    #[arg(long, value_name = "FILE")]
    board: Option<PathBuf>,
    /// The gate whose board it is; the program's gate with the most KPIs when left out.
    #[arg(long)]
    gate: Option<String>,
    /// Readings, incidents and words as lines of JSON, as `betagate gate history` prints readings. May be given several times.
    #[arg(long, value_name = "FILE")]
    history: Vec<PathBuf>,
    /// The day on which the controller first sees the program; its first day, or the first of the history, when left out.
    #[arg(long, value_name = "DATE")]
    from: Option<Date>,
    /// The last day; eight days after the history's end when left out.
    #[arg(long, value_name = "DATE")]
    until: Option<Date>,
    /// What is taken for granted where the history says nothing.
    #[arg(long, value_enum, value_delimiter = ',')]
    assume: Vec<Assumed>,
    /// How long a cause document takes to be complete; never, when left out.
    #[arg(long, value_name = "SPAN")]
    cause_within: Option<Span>,
    /// Plays the history with this Git revision too, and prints only in what the two differ.
    #[arg(long, value_name = "REV")]
    base: Option<String>,
    /// The environment whose differences count.
    #[arg(long)]
    environment: Option<String>,
    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Simulate {
    pub fn run(self) -> Result<ExitCode, CliError> {
        let snapshot = read_folder(&self.dir).map_err(CliError::failed)?;
        let Some(built) = self.build(&snapshot) else { return Ok(ExitCode::from(FAILED)) };
        let program = self.program_of(&built)?;
        let (history, recorded) = self.read(program)?;
        let setting = self.setting(program, &history)?;
        let play = |built: &Built, program: &ProgramDesired| {
            simulate(program, &built.desired.revision, history.clone(), setting).map_err(CliError::failed)
        };
        let played = play(&built, program)?;
        let zone = TimeZone::get(&program.program.spec.time_zone).unwrap_or(TimeZone::UTC);
        let Some(base) = &self.base else {
            self.print(&played, &recorded, &zone)?;
            return Ok(ExitCode::SUCCESS);
        };
        let before = documents_at(&self.dir, base, &snapshot.prefix)?;
        let Some(before) = self.build(&before) else { return Ok(ExitCode::from(FAILED)) };
        let had = before.desired.programs.get(program.name());
        let had = had.ok_or_else(|| CliError::Failed(format!("{base} has no program '{}'", program.name())))?;
        let had = play(&before, had)?;
        let differ = difference(&had.timeline, &played.timeline);
        if self.output == Format::Table {
            differ.iter().for_each(|(sign, line)| say!("{sign} {}", told(line, &zone)));
        } else {
            let shown: Vec<_> = differ.iter().map(|(sign, line)| json!({ "change": sign, "line": line })).collect();
            print_value(&shown, self.output)?;
        }
        Ok(if differ.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(ATTENTION) })
    }

    fn build(&self, snapshot: &Snapshot) -> Option<Built> {
        match built(snapshot, self.environment.as_deref()) {
            Ok(built) => Some(built),
            Err(problems) => {
                problems.iter().for_each(|problem| complain!("{problem}"));
                None
            }
        }
    }

    fn program_of<'a>(&self, built: &'a Built) -> Result<&'a ProgramDesired, CliError> {
        let programs = &built.desired.programs;
        match (&self.program, programs.values().collect::<Vec<_>>().as_slice()) {
            (Some(name), _) => match programs.get(name) {
                Some(program) => Ok(program),
                None => Err(CliError::Failed(format!("there is no program '{name}'"))),
            },
            (None, [only]) => Ok(only),
            (None, all) => {
                let names: Vec<&str> = all.iter().map(|program| program.name()).collect();
                Err(CliError::Usage(format!("name the program with --program: {}", names.join(", "))))
            }
        }
    }

    fn read(&self, program: &ProgramDesired) -> Result<(Vec<Entry>, Vec<Recorded>), CliError> {
        let (mut history, mut recorded) = (Vec::new(), Vec::new());
        if let Some(path) = &self.board {
            let kpis = |gate: &&Resource<GateSpec>| gate.spec.checks.iter().filter(|check| check.kpi.is_some()).count();
            let most = || program.gates.values().max_by_key(kpis);
            let gate = self.gate.clone().or_else(|| most().map(|gate| gate.name.clone()));
            let gate = gate.ok_or_else(|| CliError::Usage("name the board's gate with --gate".to_owned()))?;
            (history, recorded) = board(path, program, &gate)?;
        }
        for path in &self.history {
            history.extend(lines(path, program)?);
        }
        Ok((history, recorded))
    }

    fn setting(&self, program: &ProgramDesired, history: &[Entry]) -> Result<Setting, CliError> {
        let zone = TimeZone::get(&program.program.spec.time_zone).unwrap_or(TimeZone::UTC);
        let start = |date: Date| date.to_zoned(zone.clone()).map(|start| start.timestamp()).map_err(CliError::failed);
        let starts_on = program.program.spec.starts_on.map(start).transpose()?;
        let times = || history.iter().map(|entry| entry.at);
        let first = [starts_on, times().min()].into_iter().flatten().min();
        let from = self.from.map(start).transpose()?.or(first);
        let from = from.ok_or_else(|| {
            CliError::Usage("nothing says when to begin: give --from, a history, or the program's startsOn".to_owned())
        })?;
        let on = |at: Timestamp| at.checked_add(PLAYED_ON).unwrap_or(at);
        let until = match self.until {
            Some(date) => start(date.tomorrow().map_err(CliError::failed)?)?,
            None => on(times().max().unwrap_or(from).max(from)),
        };
        if until <= from {
            return Err(CliError::Usage("it ends before it begins".to_owned()));
        }
        let assume = Assume {
            signed: self.assume.contains(&Assumed::Signed),
            met: self.assume.contains(&Assumed::Met),
            cause_within: self.cause_within.map(Span::duration),
        };
        Ok(Setting { from, until, assume })
    }

    fn print(&self, played: &Simulation, recorded: &[Recorded], zone: &TimeZone) -> Result<(), CliError> {
        let differs = differing(played, recorded);
        if self.output != Format::Table {
            let differs: Vec<_> =
                differs.iter().map(|(at, was, is)| json!({ "dueAt": at, "recorded": was, "simulated": is })).collect();
            let mut answer = json!(played);
            answer["differs"] = json!(differs);
            return print_value(&answer, self.output);
        }
        played.timeline.iter().for_each(|line| say!("{}", told(line, zone)));
        say!("");
        let rows = played.reviews.iter().map(|review| {
            let verdict = &review.verdict;
            vec![day(review.due_at, zone), review.gate.clone(), verdict.verdict.to_string(), verdict.reason.clone()]
        });
        say!("{}", table(&["REVIEW", "GATE", "VERDICT", "WHY"], rows));
        for (at, was, is) in differs {
            say!("{}: the board has {was}, it would be {is}", day(at, zone));
        }
        let waits = played.states.iter().flat_map(|(object, state)| {
            state.waits.iter().map(move |wait| format!("{object} waits: {} (from {})", wait.on, wait.from))
        });
        waits.for_each(|wait| say!("{wait}"));
        Ok(())
    }
}

fn day(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).date().to_string()
}

fn told(line: &Line, zone: &TimeZone) -> String {
    let at = line.at.to_zoned(zone.clone()).strftime("%F %H:%M");
    format!("{at}  {:<28} {:<18} {}", line.object, line.reason, line.message)
}

/// Lines that only one of two timelines has: `-` the first, `+` the second, in the order of time.
fn difference<'a>(before: &'a [Line], after: &'a [Line]) -> Vec<(&'static str, &'a Line)> {
    let mut counts: BTreeMap<&Line, i64> = BTreeMap::new();
    before.iter().for_each(|line| *counts.entry(line).or_default() -= 1);
    after.iter().for_each(|line| *counts.entry(line).or_default() += 1);
    let one_sided = counts.into_iter().filter(|(_, count)| *count != 0);
    one_sided.map(|(line, count)| (if count < 0 { "-" } else { "+" }, line)).collect()
}

/// Reviews for which a board has another status than they would have.
fn differing(played: &Simulation, recorded: &[Recorded]) -> Vec<(Timestamp, String, String)> {
    let known = recorded.iter().filter(|row| !row.status.is_empty());
    known
        .filter_map(|row| {
            let review = played.reviews.iter().find(|review| review.due_at == row.due_at)?;
            let verdict = review.verdict.verdict.to_string();
            (verdict != row.status).then(|| (row.due_at, row.status.clone(), verdict))
        })
        .collect()
}
