//! What keeps every stage of a program closed for a while: quiet days, and people who stopped the line.
//!
//! Must not know: what else a stage waits for. None of it delays a protection: triggers and holds go on.

use jiff::Timestamp;

use super::{Wait, pass::Pass};

/// So far ahead the end of quiet days is looked for.
const DAYS_AHEAD: i64 = 400;

impl Pass<'_> {
    /// What keeps every stage closed now, and who can end it.
    pub fn brakes(&mut self, waits: &mut Vec<Wait>) {
        for stop in &self.readings.stops {
            let whole = if stop.everywhere { "every program" } else { "the program" };
            let on = format!("the line is stopped for {whole} since {} by {}: {}", stop.since, stop.by, stop.reason);
            let resume = if stop.everywhere { "betagate resume --all" } else { "betagate resume" };
            waits.push(Wait { on, from: format!("anyone of the program's people: {resume}") });
        }
        if let Some(until) = self.quiet_until() {
            self.look_again(until);
            waits
                .push(Wait { on: format!("today is a quiet day; quiet days end at {until}"), from: "time".to_owned() });
        }
    }

    /// When the quiet days in which `now` lies end; none when today is none.
    fn quiet_until(&self) -> Option<Timestamp> {
        let quiet = &self.program.program.spec.quiet_days;
        let today = self.now.to_zoned(self.zone.clone()).date();
        let is_quiet = |day| quiet.iter().any(|days| days.contains(day));
        if !is_quiet(today) {
            return None;
        }
        let day = |ahead: i64| today.checked_add(jiff::Span::new().days(ahead)).ok();
        let next = (1..=DAYS_AHEAD).filter_map(day).find(|day| !is_quiet(*day));
        next.and_then(|day| day.to_zoned(self.zone.clone()).ok())
            .map(|midnight| midnight.timestamp())
            .or(Some(Timestamp::MAX))
    }
}
