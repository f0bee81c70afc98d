//! What an evaluation is asked with and answers: context, value, reason, error.
//!
//! Must not know: rules, how a flag is compiled.

use serde_json::{Map, Value};

/// What is wrong with a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileProblem {
    /// The flag's key.
    pub flag: String,
    /// Where in its targeting, as a JSON pointer.
    pub pointer: String,
    /// What.
    pub message: String,
    /// Whether the flag answers everyone with an error.
    pub breaks: bool,
}

/// Why a value was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No rule: the same for everyone.
    Static,
    /// A rule picked it.
    TargetingMatch,
    /// A percentage picked it.
    Split,
    /// No rule picked anything.
    Default,
    /// The flag is switched off.
    Disabled,
}

impl Reason {
    /// The reasons for a variant.
    pub(super) const ALL: [Self; 4] = [Self::Static, Self::TargetingMatch, Self::Split, Self::Default];

    /// As OFREP writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Static => "STATIC",
            Self::TargetingMatch => "TARGETING_MATCH",
            Self::Split => "SPLIT",
            Self::Default => "DEFAULT",
            Self::Disabled => "DISABLED",
        }
    }
}

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvaluationError {
    /// There is no such flag.
    FlagNotFound,
    /// The definition can't be evaluated.
    Parse(String),
    /// It picked a variant that does not exist, or has no default.
    General(String),
}

impl EvaluationError {
    /// As OFREP writes it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::FlagNotFound => "FLAG_NOT_FOUND",
            Self::Parse(_) => "PARSE_ERROR",
            Self::General(_) => "GENERAL",
        }
    }

    /// In words.
    pub fn details(&self) -> String {
        match self {
            Self::FlagNotFound => "there is no such flag".to_owned(),
            Self::Parse(why) | Self::General(why) => why.clone(),
        }
    }
}

/// A value with its reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation<'a> {
    /// The value; none for a disabled flag.
    pub value: Option<&'a Value>,
    /// The variant's name.
    pub variant: &'a str,
    /// Why.
    pub reason: Reason,
    /// Handed to SDKs.
    pub metadata: &'a Map<String, Value>,
    /// What decided: `invariant`, `hold RUN/STEP`, `environment NAME`, `prerequisite KEY`, `schedule FROM/UNTIL`,
    /// `stage ROLLOUT/STAGE`, `definition`.
    pub decided_by: &'a str,
    /// Which of the flag's answers it is (see [`super::FlagSet::answers`]), for whoever keeps them written out.
    pub number: usize,
}

/// Who asks, about whom.
#[derive(Clone, Debug)]
pub struct Context {
    fields: Value,
    person: Option<String>,
}

impl Context {
    /// A context from its fields.
    ///
    /// # Errors
    /// When it is no object.
    pub fn new(fields: Value) -> Result<Self, &'static str> {
        let Value::Object(object) = &fields else { return Err("the context is not an object") };
        let person = match object.get("targetingKey") {
            Some(Value::String(key)) if !key.is_empty() => Some(key.clone()),
            None | Some(Value::Null | Value::String(_)) => None,
            Some(_) => return Err("targetingKey is not a text"),
        };
        Ok(Self { fields, person })
    }

    /// Its fields, an object.
    pub fn fields(&self) -> &Value {
        &self.fields
    }

    /// The person's key.
    pub fn person(&self) -> Option<&str> {
        self.person.as_deref()
    }
}
