//! Readings over HTTP: a value in a JSON answer, or whether there is a good answer at all.
//!
//! Must not know: which service it is; health endpoints, Sentry and PagerDuty are all asked this way.

use betagate_core::resources::HttpCheck;
use jiff::Timestamp;
use serde_json::Value;

use super::net::{Endpoint, Net};
use super::{Reading, Why, source_error};

/// Asks a source below its own address.
///
/// Without a pointer the status is the value: 1 for 2xx, else 0. With one, the answer must be 2xx and JSON, and what the pointer
/// leads to is the value: a number, a boolean (1 or 0), a list's length, or, with `is`, 1 when it equals that and else 0.
/// A pointer that leads nowhere, or to null, is no data; everything else is a source error.
pub async fn measure(net: &Net, source: &Endpoint, check: &HttpCheck, at: Timestamp) -> Reading {
    match ask(net, source, check).await {
        Ok(Some((value, None))) => Reading::value(value, at),
        Ok(Some((above, Some(below)))) => super::ratio(above, below, at),
        Ok(None) => Reading::unknown(Why::NoData, at),
        Err(why) => source_error(source.name(), &why, at),
    }
}

/// The value, and the count below the line where one is asked for.
type Asked = Option<(f64, Option<f64>)>;

async fn ask(net: &Net, source: &Endpoint, check: &HttpCheck) -> Result<Asked, String> {
    let url = source.below(&check.path)?;
    let answer = net.get(source, &url).await?;
    let Some(pointer) = &check.pointer else {
        return Ok(Some((f64::from(u8::from(answer.status.is_success())), None)));
    };
    if !answer.status.is_success() {
        return Err(format!("answered {}", answer.status.as_u16()));
    }
    let body: Value = serde_json::from_slice(&answer.body).map_err(|_| "the answer is not JSON".to_owned())?;
    let value = value_at(&body, pointer, check.is.as_ref())?;
    let Some(per) = &check.per else { return Ok(value.map(|value| (value, None))) };
    let below = value_at(&body, per, None)?;
    Ok(value.zip(below).map(|(value, below)| (value, Some(below))))
}

/// The number at a JSON pointer (RFC 6901).
fn value_at(body: &Value, pointer: &str, is: Option<&Value>) -> Result<Option<f64>, String> {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(format!("`{pointer}` is no JSON pointer: it starts with /"));
    }
    let found = match body.pointer(pointer) {
        None | Some(Value::Null) => return Ok(None),
        Some(found) => found,
    };
    if let Some(is) = is {
        return Ok(Some(f64::from(u8::from(equal(found, is)))));
    }
    match found {
        Value::Number(number) => Ok(number.as_f64()),
        Value::Bool(yes) => Ok(Some(f64::from(u8::from(*yes)))),
        #[allow(clippy::cast_precision_loss, reason = "a bounded body holds few elements")]
        Value::Array(list) => Ok(Some(list.len() as f64)),
        Value::String(_) => Err(format!("`{pointer}` is a string; say with `is:` which one counts as 1")),
        Value::Object(_) | Value::Null => Err(format!("`{pointer}` is an object, not a value")),
    }
}

/// Equality as an operator means it: 1 and 1.0 are the same number.
fn equal(found: &Value, is: &Value) -> bool {
    match (found.as_f64(), is.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() < f64::EPSILON,
        _ => found == is,
    }
}

#[cfg(test)]
mod tests;
