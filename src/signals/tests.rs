//! Sources by name, and checks sent to the right one.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use betagate_core::resources::{Address, Check, HttpCheck, JobCheck, Source as Declared, SqlCheck};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use secrecy::SecretString;

use super::{Asker, Outcome, Signals, Sources, Why};
use crate::store::kpi::KpiQuery;
use crate::store::testing::on_each;

fn declared(url: &str) -> Declared {
    Declared { prometheus: Some(Address { url: Some(url.into()), ..Address::default() }), ..Declared::default() }
}

fn resolve(declared: BTreeMap<String, Declared>) -> Sources {
    Sources::resolve(&declared, Some("staging"), |name| match name {
        "db" => Ok(SecretString::from("sqlite:/nowhere".to_owned())),
        _ => Err(format!("there is no secret {name}")),
    })
}

#[test]
fn a_check_without_a_source_takes_the_only_prometheus_or_the_one_of_the_environment() {
    assert!(resolve(BTreeMap::new()).prometheus(None).unwrap_err().contains("PROM_URL"));
    let default = resolve(BTreeMap::new()).with_default_prometheus(Some("http://127.0.0.1:9090"));
    assert_eq!(default.prometheus(None).unwrap().name(), "prom");
    let one = resolve(BTreeMap::from([("metrics".into(), declared("http://a.example"))]));
    assert_eq!(one.prometheus(None).unwrap().name(), "metrics");
    let two = BTreeMap::from([("a".into(), declared("http://a.example")), ("b".into(), declared("http://b.example"))]);
    assert!(resolve(two.clone()).prometheus(None).unwrap_err().contains("source:"));
    assert_eq!(resolve(two.clone()).prometheus(Some("b")).unwrap().name(), "b");
    assert!(resolve(two).http("b").unwrap_err().contains("no HTTP source"));
}

#[test]
fn a_source_of_another_environment_or_without_its_secret_cannot_be_used() {
    let mut elsewhere = declared("http://a.example");
    elsewhere.environments = vec!["production".into()];
    let secret = |name: &str| Declared {
        database: Some(Address { secret_ref: Some(name.into()), ..Address::default() }),
        ..Declared::default()
    };
    let sources = resolve(BTreeMap::from([
        ("elsewhere".into(), elsewhere),
        ("db".into(), secret("db")),
        ("lost".into(), secret("lost")),
    ]));
    assert!(sources.prometheus(Some("elsewhere")).unwrap_err().contains("there is no source elsewhere"));
    assert_eq!(sources.database("db").unwrap().name(), "db");
    assert_eq!(sources.database("lost").unwrap_err(), "source lost: there is no secret lost");
}

#[tokio::test]
async fn every_check_reads_something_or_says_why_not() {
    drop(rustls::crypto::ring::default_provider().install_default());
    on_each(async |store| {
        let signals = Signals::new(store, Duration::from_secs(2)).unwrap();
        let about = KpiQuery::week("p", &[], 20_000, 20_010, TimeZone::UTC);
        let at = Timestamp::UNIX_EPOCH;
        let ask = async |check: Check| {
            signals.measure(&resolve(BTreeMap::new()), &check, (&about, &Asker::default()), at).await
        };
        let kpi = Check { kpi: Some("sync_success_rate".into()), ..Check::default() };
        let reading = ask(kpi).await.unwrap();
        assert_eq!(reading.outcome, Outcome::Unknown(Why::NoData));
        assert!(reading.window.is_some());
        let sev1 = Check { kpi: Some("sev1_incidents".into()), ..Check::default() };
        assert!(matches!(ask(sev1).await.unwrap().outcome, Outcome::Value { value: 0.0, .. }));
        let nothing = Some("nothing".to_owned());
        let unknown = [
            Check { kpi: nothing.clone(), ..Check::default() },
            Check { prometheus: nothing.clone(), ..Check::default() },
            Check {
                http: Some(HttpCheck { source: "x".into(), path: "/".into(), pointer: None, per: None, is: None }),
                ..Check::default()
            },
            Check { job: Some(JobCheck { command: vec!["true".into()], ..JobCheck::default() }), ..Check::default() },
            Check { sql: Some(SqlCheck { source: "x".into(), query: "SELECT 1".into() }), ..Check::default() },
        ];
        for check in unknown {
            assert!(matches!(ask(check).await.unwrap().outcome, Outcome::Unknown(Why::SourceError(_))));
        }
        assert_eq!(ask(Check { fact: nothing, ..Check::default() }).await, None);
    })
    .await;
}
