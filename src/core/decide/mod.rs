//! What should be true now: verdicts, stages, holds, the steps of a rollback. A pure function of what is wanted, what was measured,
//! what is remembered, and the time.
//!
//! A rollback has no executor of its own: a run is a row in memory that says which steps are in force. From those this room derives holds
//! over the wanted state, which `plan` and `apply` make so like anything else; the next pass sees in the readings that a step has taken
//! effect, and puts the next one in force.
//!
//! Must not know: I/O, async, the system's time.

mod announce;
mod approval;
mod brakes;
mod call;
mod datasets;
mod decision;
mod document;
mod effective;
mod facts;
mod gate;
mod late;
mod lift;
mod memory;
mod minutes;
mod pass;
mod phase;
mod ramp;
mod reading;
mod review;
mod run;
mod stage;
mod state;
mod tag;
#[cfg(test)]
mod tests;
mod trigger;
mod verdict;
mod verify;
mod versus;
mod workloads;

pub use decision::*;
pub use facts::*;
pub use gate::MEASURE_EVERY;
pub use late::read_again;
pub use memory::*;
pub use reading::*;
pub use run::{effect_base, holder, standing};
pub use trigger::{BREAK_GLASS, BY_HAND};
pub use verdict::*;
pub use workloads::{Quarantined, quarantine, released, stage_versions, workload_holds};

use jiff::Timestamp;

use crate::desired::{ProgramDesired, Revision};

/// One pass over one program. It never matters why it was called: with the same inputs it answers the same, and a caller goes on calling
/// with the new memory until nothing changes, then sleeps until `look_again_at`.
pub fn decide(
    program: &ProgramDesired,
    revision: &Revision,
    readings: &Readings,
    memory: &Memory,
    now: Timestamp,
) -> Decision {
    let mut pass = pass::Pass::new(program, revision, readings, memory, now);
    pass.gates();
    pass.triggers();
    pass.runs();
    pass.reviews();
    pass.stages();
    pass.announcements();
    let effective = pass.effective();
    pass.describe(&effective);
    Decision {
        look_again_at: pass.wake(),
        effective,
        memory: pass.memory,
        verdicts: pass.verdicts,
        sealed: pass.sealed,
        messages: pass.messages,
        events: pass.events,
        states: pass.states,
    }
}
