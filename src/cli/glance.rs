//! What `up` prints: where to look, what is open, waiting, failing and held; then only what changes.

use std::collections::BTreeMap;

use crate::controller::Controller;

/// The kinds that are shown, in this order.
const SHOWN: [&str; 5] = ["Program", "Rollout", "Gate", "Rollback", "Cohort"];

/// What was printed last.
#[derive(Default)]
pub struct Glance {
    states: BTreeMap<String, String>,
    problems: Vec<String>,
    begun: bool,
}

impl Glance {
    /// Prints what changed since the last time.
    pub fn show(&mut self, controller: &Controller) {
        self.show_problems(controller);
        let mut now = BTreeMap::new();
        for state in controller.programs().values() {
            for (object, state) in state.decision.iter().flat_map(|decision| &decision.states) {
                now.insert(object.clone(), (state.state.clone(), state.summary.clone()));
            }
        }
        if !self.begun && !now.is_empty() {
            self.begun = true;
            for kind in SHOWN {
                for (object, (state, summary)) in
                    now.iter().filter(|(object, _)| object.split('/').next() == Some(kind))
                {
                    say!("  {object:<34} {state:<8} {summary}");
                }
            }
            say!("Then only changes are shown. More: betagate status · betagate why KIND/NAME · betagate board");
        } else {
            for (object, (state, summary)) in &now {
                let kind = object.split('/').next().unwrap_or_default();
                if SHOWN.contains(&kind) && self.states.get(object) != Some(state) {
                    let before = self.states.get(object).map(|before| format!("{before} → ")).unwrap_or_default();
                    say!("{object} {before}{state}: {summary}");
                }
            }
        }
        self.states = now.into_iter().map(|(object, (state, _))| (object, state)).collect();
    }

    fn show_problems(&mut self, controller: &Controller) {
        let problems: Vec<String> =
            controller.problems().iter().chain(controller.warnings()).map(ToString::to_string).collect();
        if problems != self.problems {
            for problem in &problems {
                complain!("{problem}");
            }
            if !controller.problems().is_empty() {
                match controller.revision() {
                    Some(revision) => complain!(
                        "This revision is refused; {} goes on.",
                        revision.id.chars().take(12).collect::<String>()
                    ),
                    None => complain!("There is no good revision yet; mend the documents, and it goes on by itself."),
                }
            } else if !self.problems.is_empty() {
                complain!("The documents hold again.");
            }
            self.problems = problems;
        }
    }
}
