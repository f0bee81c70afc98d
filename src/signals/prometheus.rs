//! Readings from Prometheus: one instant query that answers one number.
//!
//! Must not know: which check asked.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::net::{Answer, Endpoint, Net};
use super::{Reading, Why, source_error};

/// Asks for the value of a PromQL expression at `time`, or now when left out.
///
/// One sample is the value; none and NaN (a ratio of nothing) are no data; more than one sample, an infinite value, an error of
/// Prometheus or a server that does not answer are source errors.
pub async fn measure(net: &Net, source: &Endpoint, query: &str, time: Option<Timestamp>, at: Timestamp) -> Reading {
    match ask(net, source, query, time).await {
        Ok(Some(value)) => Reading::value(value, at),
        Ok(None) => Reading::unknown(Why::NoData, at),
        Err(why) => source_error(source.name(), &why, at),
    }
}

/// Asks for two counts at one moment, and gives their ratio with both.
pub async fn ratio(net: &Net, source: &Endpoint, (query, per): (&str, &str), at: Timestamp) -> Reading {
    let (above, below) = tokio::join!(ask(net, source, query, Some(at)), ask(net, source, per, Some(at)));
    match (above, below) {
        (Ok(Some(above)), Ok(Some(below))) => super::ratio(above, below, at),
        (Err(why), _) | (_, Err(why)) => source_error(source.name(), &why, at),
        // Nothing was counted below the line, or nobody says what is above it: that is no zero.
        (Ok(_), Ok(_)) => Reading::unknown(Why::NoData, at),
    }
}

async fn ask(net: &Net, source: &Endpoint, query: &str, time: Option<Timestamp>) -> Result<Option<f64>, String> {
    let mut url = source.below("/api/v1/query")?;
    url.query_pairs_mut().append_pair("query", query);
    if let Some(time) = time {
        url.query_pairs_mut().append_pair("time", &time.to_string());
    }
    read(&net.get(source, &url).await?)
}

/// The answer of the HTTP API, version 1.
#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Body {
    Success {
        data: Data,
    },
    Error {
        #[serde(rename = "errorType", default)]
        kind: String,
        #[serde(default)]
        error: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Value,
}

#[derive(Deserialize)]
struct Sample {
    metric: Map<String, Value>,
    /// Absent for a native histogram.
    value: Option<(f64, String)>,
}

fn read(answer: &Answer) -> Result<Option<f64>, String> {
    let body: Body = serde_json::from_slice(&answer.body).map_err(|_| match answer.status.as_u16() {
        200 => "the answer is not Prometheus's".to_owned(),
        status => format!("answered {status}"),
    })?;
    let data = match body {
        Body::Success { data } => data,
        Body::Error { kind, error } => return Err(format!("{kind}: {error}")),
    };
    match data.result_type.as_str() {
        "scalar" => number(&shaped::<(f64, String)>(data.result)?.1),
        "vector" => one_of(&shaped::<Vec<Sample>>(data.result)?),
        "matrix" => Err("the query answers a range, not an instant".into()),
        _ => Err("the query answers no number".into()),
    }
}

fn shaped<T: serde::de::DeserializeOwned>(result: Value) -> Result<T, String> {
    serde_json::from_value(result).map_err(|_| "the answer is not Prometheus's".to_owned())
}

/// The value of the only sample of a vector.
fn one_of(samples: &[Sample]) -> Result<Option<f64>, String> {
    match samples {
        [] => Ok(None),
        [Sample { value: Some((_, value)), .. }] => number(value),
        [_] => Err("the query answers a histogram, not a number".into()),
        many => Err(format!(
            "the query answers {} series, not one: {}{}; aggregate it",
            many.len(),
            many.iter().take(2).map(labels).collect::<Vec<_>>().join(", "),
            if many.len() > 2 { ", …" } else { "" },
        )),
    }
}

fn labels(sample: &Sample) -> String {
    let name = sample.metric.get("__name__").and_then(Value::as_str).unwrap_or_default();
    let labels: Vec<String> = sample
        .metric
        .iter()
        .filter(|(key, _)| *key != "__name__")
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    format!("{name}{{{}}}", labels.join(","))
}

fn number(text: &str) -> Result<Option<f64>, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_nan() => Ok(None),
        Ok(value) if value.is_infinite() => Err("the value is infinite".into()),
        Ok(value) => Ok(Some(value)),
        Err(_) => Err("the value is no number".into()),
    }
}

#[cfg(test)]
mod tests;
