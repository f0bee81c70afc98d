//! What each kind of answer reads as; against a real server when `BETAGATE_TEST_PROMETHEUS` names one.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;

use super::super::net::{Answer, Endpoint, Net};
use super::super::{Outcome, Why};
use super::{measure, ratio, read};

fn answered(status: StatusCode, body: &str) -> Result<Option<f64>, String> {
    read(&Answer { status, body: body.as_bytes().to_vec() })
}

fn vector(result: &str) -> Result<Option<f64>, String> {
    let body = format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{result}]}}}}"#);
    answered(StatusCode::OK, &body)
}

#[test]
fn one_sample_is_a_value_none_is_no_data_and_many_are_an_error() {
    let sample = |job: &str, value: &str| {
        format!(r#"{{"metric":{{"__name__":"up","job":"{job}"}},"value":[1772445600.1,"{value}"]}}"#)
    };
    assert_eq!(vector(&sample("a", "0.949")), Ok(Some(0.949)));
    assert_eq!(vector(""), Ok(None));
    assert_eq!(vector(&sample("a", "NaN")), Ok(None));
    assert!(vector(&sample("a", "+Inf")).is_err());
    let many = vector(&format!("{},{}", sample("a", "1"), sample("b", "1"))).unwrap_err();
    assert_eq!(many, r#"the query answers 2 series, not one: up{job="a"}, up{job="b"}; aggregate it"#);
}

#[test]
fn errors_and_strangers_are_errors_and_never_zero() {
    let bad = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
    assert_eq!(answered(StatusCode::BAD_REQUEST, bad).unwrap_err(), "bad_data: parse error");
    assert_eq!(answered(StatusCode::BAD_GATEWAY, "<html>").unwrap_err(), "answered 502");
    assert!(answered(StatusCode::OK, "{}").is_err());
    assert!(answered(StatusCode::OK, r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#).is_err());
}

#[tokio::test]
async fn a_real_server_is_read_as_it_answers() {
    let Ok(address) = std::env::var("BETAGATE_TEST_PROMETHEUS") else { return };
    drop(rustls::crypto::ring::default_provider().install_default());
    let net = Net::new(Duration::from_secs(10)).unwrap();
    let source = Endpoint::new("prom", &address, None).unwrap();
    let at = Timestamp::UNIX_EPOCH;
    let ask = async |query: &str| measure(&net, &source, query, None, at).await.outcome;
    let plain = |value| Outcome::Value { value, numerator: None, denominator: None, samples: None };
    assert_eq!(ask("sum(vector(949)) / sum(vector(1000))").await, plain(0.949));
    assert_eq!(ask("scalar(vector(3))").await, plain(3.0));
    assert_eq!(ask("sum(increase(no_such_metric_total[7d]))").await, Outcome::Unknown(Why::NoData));
    assert_eq!(ask("vector(0) / vector(0)").await, Outcome::Unknown(Why::NoData));
    for (query, says) in [
        ("vector(1) / vector(0)", "infinite"),
        ("sum(", "bad_data"),
        ("prometheus_build_info[5m]", "range"),
        (
            "label_replace(vector(1), \"a\", \"x\", \"\", \"\") or label_replace(vector(2), \"a\", \"y\", \"\", \"\")",
            "2 series",
        ),
    ] {
        match ask(query).await {
            Outcome::Unknown(Why::SourceError(error)) => assert!(error.contains(says), "{query}: {error}"),
            other => panic!("{query}: {other:?}"),
        }
    }
    let both = ratio(&net, &source, ("sum(vector(949))", "sum(vector(1000))"), Timestamp::now()).await;
    let counts = Outcome::Value { value: 0.949, numerator: Some(949.0), denominator: Some(1000.0), samples: None };
    assert_eq!(both.outcome, counts);
    for (above, below) in [("vector(1)", "vector(0)"), ("vector(1)", "no_such_metric"), ("no_such_metric", "vector(1)")]
    {
        let nothing = ratio(&net, &source, (above, below), Timestamp::now()).await;
        assert_eq!(nothing.outcome, Outcome::Unknown(Why::NoData), "{above} per {below}");
    }
    let broken = ratio(&net, &source, ("vector(1)", "sum("), Timestamp::now()).await;
    assert!(matches!(broken.outcome, Outcome::Unknown(Why::SourceError(_))));
    let past = measure(&net, &source, "time()", Some("2026-03-13T17:00:00Z".parse().unwrap()), at).await;
    assert_eq!(past.outcome, plain(1_773_421_200.0));
}
