//! The tree of a parsed document, in which every key and value knows its line and column.
//!
//! Must not know: what the fields mean, or which file they came from.

use std::fmt::{self, Write as _};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::Spanned;

use super::error::Position;

/// One value of a document with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where the value starts. For a value that came through an alias or merge key: where it is written.
    pub at: Position,
    /// Byte offset in the document's text, to look at how a scalar was written.
    pub(super) offset: Option<u32>,
    /// What stands there.
    pub value: Value,
}

/// What a [`Node`] holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A finite number.
    Number(Number),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order it is written.
    Map(Vec<Entry>),
}

/// A key and its value in a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// Where the key starts.
    pub at: Position,
    pub(super) offset: Option<u32>,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The entry of a mapping with this key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The value of a mapping's key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The entries of a mapping; none for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none for anything else.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The text, if it is text.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value at a JSON pointer such as `/spec/stages/0/name` (`~1` for `/`, `~0` for `~`); `""` is this node.
    pub fn at(&self, pointer: &str) -> Option<&Node> {
        tokens(pointer).try_fold(self, |node, token| node.child(&token).map(|(node, _)| node))
    }

    /// Where the value at a JSON pointer starts; if there is none, where its nearest existing ancestor is named.
    pub fn position(&self, pointer: &str) -> Position {
        match self.at(pointer) {
            Some(node) if node.value != Value::Null => node.at,
            _ => self.key_position(pointer),
        }
    }

    /// Where the key (or list item) at a JSON pointer starts; if there is none, that of its nearest existing ancestor.
    pub fn key_position(&self, pointer: &str) -> Position {
        let (mut node, mut named) = (self, self.at);
        for token in tokens(pointer) {
            let Some((child, at)) = node.child(&token) else { break };
            (node, named) = (child, at);
        }
        named
    }

    fn child(&self, token: &str) -> Option<(&Node, Position)> {
        match &self.value {
            Value::Map(_) => self.entry(token).map(|entry| (&entry.value, entry.at)),
            Value::List(items) => token.parse::<usize>().ok().and_then(|i| items.get(i)).map(|item| (item, item.at)),
            _ => None,
        }
    }

    /// A value that stands nowhere, as if it stood at this place.
    pub(super) fn from_json(value: &serde_json::Value, at: Position) -> Self {
        use serde_json::Value as Json;
        let value = match value {
            Json::Null => Value::Null,
            Json::Bool(b) => Value::Bool(*b),
            Json::Number(n) => Value::Number(n.clone()),
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(items) => Value::List(items.iter().map(|item| Self::from_json(item, at)).collect()),
            Json::Object(fields) => {
                let entry = |(key, value): (&String, &Json)| Entry {
                    key: key.clone(),
                    at,
                    offset: None,
                    value: Self::from_json(value, at),
                };
                Value::Map(fields.iter().map(entry).collect())
            }
        };
        Self { at, offset: None, value }
    }

    /// The value as JSON, without places.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(b) => (*b).into(),
            Value::Number(n) => serde_json::Value::Number(n.clone()),
            Value::Text(text) => text.clone().into(),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(entries) => {
                serde_json::Value::Object(entries.iter().map(|e| (e.key.clone(), e.value.to_json())).collect())
            }
        }
    }

    /// What stands there, in words: `the text "abc"`, `the number 5`, `a list`.
    pub fn described(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(b) => b.to_string(),
            Value::Number(n) => format!("the number {n}"),
            Value::Text(text) if text.chars().count() > 40 => {
                format!("the text {:?}…", text.chars().take(40).collect::<String>())
            }
            Value::Text(text) => format!("the text {text:?}"),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// `spec.stages[0].name` for the JSON pointer `/spec/stages/0/name`.
pub fn dotted(pointer: &str) -> String {
    let mut path = String::new();
    for token in tokens(pointer) {
        if !token.is_empty() && token.bytes().all(|b| b.is_ascii_digit()) {
            push_index(&mut path, &token);
        } else {
            push_key(&mut path, &token);
        }
    }
    path
}

/// Appends `.key`, or `["key"]` where the key itself has dots, slashes or the like.
pub(super) fn push_key(path: &mut String, key: &str) {
    if !key.is_empty()
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'$') || !b.is_ascii())
    {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
    } else {
        path.push_str(&format!("[{key:?}]"));
    }
}

/// Appends `[index]`.
pub(super) fn push_index(path: &mut String, index: impl fmt::Display) {
    // Writing to a string cannot fail.
    let _ = write!(path, "[{index}]");
}

/// The names and numbers of a JSON pointer.
pub(super) fn tokens(pointer: &str) -> impl Iterator<Item = String> {
    pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~"))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        let (at, offset) = place(spanned.defined);
        Ok(Self { at, offset, value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

fn place(location: serde_saphyr::Location) -> (Position, Option<u32>) {
    let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let offset = location.span().byte_offset().and_then(|offset| u32::try_from(offset).ok());
    (Position::new(narrow(location.line()), narrow(location.column())), offset)
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or_else(|| Value::Text(value.to_string()), Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element::<Node>()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let (at, offset) = place(key.defined);
            entries.push(Entry { key: key.value, at, offset, value: map.next_value()? });
        }
        Ok(Value::Map(entries))
    }
}
