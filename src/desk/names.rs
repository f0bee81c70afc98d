//! Names that a program has, or has not: a word about something unknown would be kept, and would do nothing.

use betagate_core::desired::nearest::nearest;
use betagate_core::resources::Kind;

use super::{Desk, DeskError};
use crate::store::status;

impl Desk<'_> {
    /// The program that is meant: named, or the only one.
    pub(super) async fn program(&self, named: Option<String>) -> Result<String, DeskError> {
        let all = status::all_good(self.store).await?;
        let programs: Vec<String> =
            all.into_iter().filter(|good| good.kind == "Program").map(|good| good.name).collect();
        match named {
            Some(named) if programs.contains(&named) => Ok(named),
            Some(named) => {
                Err(DeskError::Unknown(format!("there is no program '{named}'; there are {}", programs.join(", "))))
            }
            None => match programs.as_slice() {
                [only] => Ok(only.clone()),
                [] => Err(DeskError::Unknown("there is no program yet".to_owned())),
                several => Err(DeskError::Usage(format!("name the program with --program: {}", several.join(", ")))),
            },
        }
    }

    /// The program that is meant: named, the only one, or that of the resource which the words are about.
    pub(super) async fn program_of(
        &self,
        named: Option<String>,
        about: Option<(Kind, &str)>,
    ) -> Result<String, DeskError> {
        if let (None, Some((kind, name))) = (&named, about) {
            let all = status::list(self.store, Some(kind.name())).await?;
            let mut programs: Vec<String> =
                all.into_iter().filter(|one| one.name == name).map(|one| one.program).collect();
            programs.dedup();
            if let [only] = programs.as_slice() {
                return Ok(only.clone());
            }
        }
        self.program(named).await
    }

    /// Refuses a name that the program does not have; the nearest one is told.
    pub(super) async fn expect_known(&self, program: &str, kind: Kind, name: &str) -> Result<(), DeskError> {
        let all = status::list(self.store, Some(kind.name())).await?;
        let own: Vec<String> = all.into_iter().filter(|one| one.program == program).map(|one| one.name).collect();
        if own.iter().any(|one| one == name) {
            return Ok(());
        }
        Err(unknown(&kind.name().to_lowercase(), name, &format!("program '{program}'"), &own))
    }

    /// Refuses a person that the program does not have; nobody named is whoever brings the word.
    pub(super) async fn expect_person(&self, program: &str, by: &str) -> Result<(), DeskError> {
        let all = status::all_good(self.store).await?;
        let good = all.iter().find(|good| good.kind == "Program" && good.name == program);
        let people = good.and_then(|good| good.body["spec"]["people"].as_object()).into_iter().flatten();
        let people: Vec<String> = people.map(|(name, _)| name.clone()).collect();
        // A program that names nobody takes anyone's word.
        if by.is_empty() || people.is_empty() || people.iter().any(|known| known == by) {
            return Ok(());
        }
        Err(unknown("person", by, &format!("program '{program}'"), &people))
    }
}

/// Says that there is no such thing, and what there is instead.
pub(super) fn unknown(what: &str, name: &str, place: &str, known: &[String]) -> DeskError {
    let near = nearest(name, known.iter().map(String::as_str));
    let hint = match near {
        Some(near) => format!("; did you mean {near}?"),
        None if known.is_empty() => String::new(),
        None => format!("; there are {}", known.join(", ")),
    };
    DeskError::Unknown(format!("there is no {what} '{name}' in {place}{hint}"))
}
