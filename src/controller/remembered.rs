//! Between `decide`'s memory and the documents that the store keeps: one document an object.

use betagate_core::decide::Memory;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::ControllerError;
use crate::store::memory::Document;

/// The memory that documents hold.
pub(super) fn read(program: &str, documents: &[Document]) -> Result<Memory, ControllerError> {
    let mut memory = Memory::default();
    for document in documents {
        let Document { kind, name, body, .. } = document;
        match kind.as_str() {
            "program" => memory.program = one(program, kind, body)?,
            "gate" => drop(memory.gates.insert(name.clone(), one(program, kind, body)?)),
            "rollout" => drop(memory.rollouts.insert(name.clone(), one(program, kind, body)?)),
            "plan" => drop(memory.plans.insert(name.clone(), one(program, kind, body)?)),
            "run" => drop(memory.runs.insert(name.clone(), one(program, kind, body)?)),
            other => return Err(ControllerError::Memory(program.to_owned(), format!("kind {other} is not known"))),
        }
    }
    Ok(memory)
}

fn one<T: DeserializeOwned>(program: &str, kind: &str, body: &Value) -> Result<T, ControllerError> {
    T::deserialize(body).map_err(|error| ControllerError::Memory(format!("{program} ({kind})"), error.to_string()))
}

/// The documents of a memory.
pub(super) fn write(program: &str, memory: &Memory) -> Result<Vec<(String, String, Value)>, ControllerError> {
    let mut all = vec![document(program, "program", program, &memory.program)?];
    for (name, gate) in &memory.gates {
        all.push(document(program, "gate", name, gate)?);
    }
    for (name, rollout) in &memory.rollouts {
        all.push(document(program, "rollout", name, rollout)?);
    }
    for (name, plan) in &memory.plans {
        all.push(document(program, "plan", name, plan)?);
    }
    for (id, run) in &memory.runs {
        all.push(document(program, "run", id, run)?);
    }
    Ok(all)
}

fn document<T: Serialize>(
    program: &str,
    kind: &str,
    name: &str,
    body: &T,
) -> Result<(String, String, Value), ControllerError> {
    let body =
        serde_json::to_value(body).map_err(|error| ControllerError::Memory(program.to_owned(), error.to_string()))?;
    Ok((kind.to_owned(), name.to_owned(), body))
}
