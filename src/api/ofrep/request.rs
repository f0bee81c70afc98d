//! What a client sends: a context, and how fresh the answer must be.
//!
//! Of a context only the fields that an answer may follow from are kept; the others are passed over as they are read.
//!
//! Must not know: rules.

use std::fmt;

use axum::body::Bytes;
use axum::extract::Query;
use axum::http::{StatusCode, Uri};
use betagate_core::flags::{Context, Reads};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::answers::Refusal;

/// The context of a request, as far as it is read; an absent one is empty.
pub(super) fn context(body: &Bytes, reads: &Reads) -> Result<Context, Refusal> {
    let bad = |code: &'static str, details: String| Refusal::new(StatusCode::BAD_REQUEST, code, details);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let sent = Request(reads).deserialize(&mut deserializer).and_then(|sent| deserializer.end().map(|()| sent));
    match sent.map_err(|error| bad("PARSE_ERROR", format!("the request is no JSON object: {error}")))? {
        Sent::Fields(fields) => {
            Context::new(Value::Object(fields)).map_err(|why| bad("INVALID_CONTEXT", why.to_owned()))
        }
        Sent::Other => Err(bad("INVALID_CONTEXT", "the context is not an object".to_owned())),
    }
}

/// What stands where the context should.
enum Sent {
    Fields(Map<String, Value>),
    Other,
}

/// `{"context": …}`.
struct Request<'a>(&'a Reads);

impl<'de> DeserializeSeed<'de> for Request<'_> {
    type Value = Sent;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Sent, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Request<'_> {
    type Value = Sent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Sent, A::Error> {
        let mut sent = Sent::Fields(Map::new());
        while let Some(field) = map.next_key::<Name<'de>>()? {
            if field.0 == "context" {
                sent = map.next_value_seed(Fields(self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(sent)
    }
}

/// A field's name, borrowed where it stands as it is.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);

/// The fields of a context that are read.
struct Fields<'a>(&'a Reads);

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = Sent;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Sent, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Sent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a context")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Sent, A::Error> {
        let mut fields = Map::new();
        while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
            if self.0.has(&name) {
                fields.insert(name.into_owned(), map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Sent::Fields(fields))
    }

    fn visit_unit<E>(self) -> Result<Sent, E> {
        Ok(Sent::Fields(Map::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Sent, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Sent::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Sent, E> {
        Ok(Sent::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Sent, E> {
        Ok(Sent::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Sent, E> {
        Ok(Sent::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Sent, E> {
        Ok(Sent::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Sent, E> {
        Ok(Sent::Other)
    }
}

/// How fresh an answer must be, as an event said it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Freshness {
    /// The configuration's ETag.
    pub flag_config_etag: Option<String>,
    /// When it was published, in seconds since 1970.
    pub flag_config_last_modified: Option<i64>,
}

impl Freshness {
    /// From a request's query.
    pub(super) fn of(uri: &Uri) -> Result<Self, Refusal> {
        let Query(fresh) = Query::try_from_uri(uri).map_err(|why| {
            Refusal::new(StatusCode::BAD_REQUEST, "PARSE_ERROR", format!("the query is not readable: {why}"))
        })?;
        Ok(fresh)
    }
}
