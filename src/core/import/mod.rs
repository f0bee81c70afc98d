//! Definitions of other flag servers as documents of this one.
//!
//! Knows flagd's format and the OpenFeature Operator's resource. Must not know: files.

mod definition;
mod flagd;
mod render;
#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::Value;

use crate::resources::Bucketing;

pub use flagd::flagd;
pub use render::texts;

/// One file to import, read: a JSON file has one document, a YAML file may have several.
#[derive(Clone, Debug)]
pub struct File {
    /// Its name, for what is said about it.
    pub name: String,
    /// Its documents.
    pub documents: Vec<Value>,
}

/// How to import.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program that the flags will belong to.
    pub program: String,
    /// The generation of bucketing that the flags' users were picked with.
    pub bucketing: Bucketing,
}

/// What cannot be carried over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The file.
    pub file: String,
    /// The flag's key, or what else of the file.
    pub what: String,
    /// Why.
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.file, self.what, self.message)
    }
}

/// What an import gives: all of it, or refusals.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// Documents of kind `Flag`, in the order in which they stood.
    pub flags: Vec<Document>,
    /// What was found and is no flag, in words.
    pub left_out: Vec<String>,
}

/// A document to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// `metadata.name`, unique among those of one import.
    pub name: String,
    /// The flag's key.
    pub key: String,
    /// The file that it comes from.
    pub file: String,
    /// The whole document.
    pub body: Value,
}
