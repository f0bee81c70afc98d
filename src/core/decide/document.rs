//! What a cause document begins with: what happened, when, and what was measured. People complete the rest.

use std::fmt::Write as _;

use super::{Outcome, RunMemory, pass::Pass};

impl Pass<'_> {
    /// The cause document of one episode of a run, in Markdown.
    pub fn cause_document(&self, id: &str, run: &RunMemory, episode: u64) -> String {
        let mut text = String::new();
        let about = run.episodes.iter().find(|known| known.number == episode);
        let reason = about.map(|episode| episode.reason.as_str()).unwrap_or_default();
        let since = about.map(|episode| episode.since).unwrap_or(run.started_at);
        let _ = writeln!(
            text,
            "- Run: {id}\n- Plan: {}\n- Episode: {episode}\n- Began: {since}\n- Trigger: {reason}",
            run.plan
        );
        let _ = writeln!(text, "- Revision that was live: {}\n\n## Timeline\n", run.revision);
        for known in &run.episodes {
            let _ = writeln!(text, "- {} episode {}: {}", known.since, known.number, known.reason);
        }
        for (place, step) in run.steps.iter().enumerate() {
            if let Some(at) = step.in_force_at {
                let _ = writeln!(text, "- {at} step {} {} in force", place + 1, step.step.name());
            }
        }
        let _ = writeln!(text, "\n## Readings\n");
        for (gate, verdict) in self.verdicts.iter().filter(|(gate, _)| run.gates.contains(*gate)) {
            for check in &verdict.checks {
                let value = match check.reading.as_ref().map(|reading| &reading.outcome) {
                    Some(Outcome::Value { value, .. }) => format!("{value}"),
                    Some(Outcome::Unknown(why)) => why.to_string(),
                    None => check.detail.clone(),
                };
                let _ = writeln!(text, "- {} {gate}/{}: {value}", check.state.mark(), check.name);
            }
        }
        text
    }
}
