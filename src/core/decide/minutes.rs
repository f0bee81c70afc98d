//! The minutes of a decision call: who said what, every row of the gates as it stood, what was decided and what follows (seed 004).
//!
//! Must not know: where they are kept.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::Timestamp;

use super::{CheckResult, Outcome, pass::Pass};
use crate::resources::{Edge, EnterSignoffs, Says, Stage};

impl Pass<'_> {
    /// What is written down of a call about a stage, in Markdown.
    pub(super) fn minutes(
        &self,
        (rollout, stage): (&str, &Stage),
        wanted: &EnterSignoffs,
        (began, outcome): (Timestamp, &str),
        gates: &BTreeSet<String>,
    ) -> String {
        let mut text = format!("# Decision call about stage {} of {rollout}\n\n", stage.name);
        let _ = writeln!(text, "- Program: {}\n- Began: {began}\n- Decided: {}", self.program.name(), self.now);
        let _ = writeln!(text, "- Decision: {}\n- Revision that was live: {}", line(outcome), self.revision.id);
        text += "\n## Voices\n\n| Who | Said | When | Note |\n|---|---|---|---|\n";
        let words = self.votes_since(rollout, &stage.name, began);
        for word in &words {
            let until = word.spec.until.map(|until| format!(" (next call at {})", self.resolve(until, Edge::End)));
            let said = if word.spec.says == Says::Go { "GO" } else { "NO-GO" };
            let note = line(word.spec.note.as_deref().unwrap_or_default()) + &until.unwrap_or_default();
            let _ = writeln!(text, "| {} | {said} | {} | {note} |", line(&word.spec.by), word.first_seen);
        }
        for silent in wanted.from.iter().filter(|name| words.iter().all(|word| word.spec.by != **name)) {
            let _ = writeln!(text, "| {} | nothing | | |", line(silent));
        }
        for gate in gates {
            let Some(verdict) = self.verdicts.get(gate) else { continue };
            let _ = writeln!(text, "\n## Gate {gate}: {}\n\n{}\n", verdict.verdict, line(&verdict.reason));
            text += "| | Row | Value | Must be | More |\n|---|---|---|---|---|\n";
            verdict.checks.iter().for_each(|check| row(&mut text, check));
        }
        text += "\n## What follows\n\n";
        match (&stage.tag, outcome.starts_with("GO ")) {
            (Some(tag), true) => {
                let at = tag.at.as_ref().map(|at| format!(" at {at}")).unwrap_or_default();
                let _ = writeln!(
                    text,
                    "Stage {} opens when nothing else keeps it closed; then tag {}{at}.",
                    stage.name, tag.name
                );
            }
            (None, true) => {
                let _ = writeln!(text, "Stage {} opens when nothing else keeps it closed.", stage.name);
            }
            (_, false) => {
                let _ = writeln!(text, "{}", line(outcome));
            }
        }
        text
    }
}

fn row(text: &mut String, check: &CheckResult) {
    let value = match check.reading.as_ref().map(|reading| &reading.outcome) {
        Some(Outcome::Value { value, numerator: Some(n), denominator: Some(d), .. }) => format!("{value} ({n} of {d})"),
        Some(Outcome::Value { value, .. }) => value.to_string(),
        Some(Outcome::Unknown(why)) => why.to_string(),
        None => String::new(),
    };
    let pass = check.pass.as_ref().map(ToString::to_string).unwrap_or_default();
    let (mark, name, more) = (check.state.mark(), line(&check.name), line(&check.detail));
    let _ = writeln!(text, "| {mark} | {name} | {} | {pass} | {more} |", line(&value));
}

/// A text that fits into a cell of a table.
fn line(text: &str) -> String {
    text.replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}
