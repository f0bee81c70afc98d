//! Cohort lists: checked, compared, guarded, then brought in by digest. A million rows never pass through `plan`.

mod check;
mod gone;
mod guard;
mod look;
mod place;
mod sync;

use betagate_core::cohort::{AddressRules, ListOptions, Needs};
use betagate_core::desired::ProgramDesired;
use betagate_core::resources::CohortSpec;

pub use check::{Acknowledgement, CheckedList, Known, ListProblem, check_list, survey_list};
pub use gone::GoneList;
pub(super) use gone::look as look_at_gone;
pub(super) use guard::Words;
pub(super) use look::{LookAt, Looked, capacities, program_suspended};
pub use place::{FoundList, Place, find_list};
pub use sync::WaitingList;

pub(super) use place::lists_beside;
use place::read_as;

/// Which spellings of an address are one person, in a program.
pub(super) fn address_rules(program: Option<&ProgramDesired>) -> AddressRules {
    let rules = program.and_then(|program| program.program.spec.addresses.clone()).unwrap_or_default();
    AddressRules { ignore_dots: rules.ignore_dots, ignore_plus: rules.ignore_plus }
}

/// How a cohort's list is read and what it must have.
pub(super) fn options(program: &ProgramDesired, spec: &CohortSpec) -> ListOptions {
    let require = &spec.require;
    let needs = Needs { rows: require.rows, labels: require.labels, roles: require.roles.clone() };
    ListOptions { read_as: read_as(program, spec), needs, disposable: Vec::new() }
}
