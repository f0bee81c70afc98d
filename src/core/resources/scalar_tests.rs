#![allow(clippy::unwrap_used)]
use super::*;
use crate::resources::{Edge, Moment};

#[test]
fn a_span_reads_what_it_writes() {
    for text in ["30m", "48h", "14d", "1h30m", "250ms"] {
        let span: Span = text.parse().unwrap();
        assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
    }
    for text in ["", "30", "m", "-3d", "3 d", "3y", "99999999999999999w"] {
        assert!(text.parse::<Span>().is_err(), "{text}");
    }
}

#[test]
fn a_threshold_is_exact_on_both_sides() {
    let threshold: Threshold = ">= 95%".parse().unwrap();
    assert!(threshold.met_by_ratio(950.0, 1000.0));
    assert!(!threshold.met_by_ratio(949.0, 1000.0));
    let zero: Threshold = "== 0".parse().unwrap();
    assert!(zero.met_by(0.0) && !zero.met_by(1.0));
    let age: Threshold = "<= 24h".parse().unwrap();
    assert!(age.met_by(86_400.0) && !age.met_by(86_401.0));
    for text in ["45%", ">= x", ">=", "=> 3", ">= nan", ">= inf"] {
        assert!(text.parse::<Threshold>().is_err(), "{text}");
    }
}

#[test]
fn a_relative_moment_keeps_its_local_hour_across_daylight_saving() {
    let rome = TimeZone::get("Europe/Rome").unwrap();
    let day0: Date = "2026-03-02".parse().unwrap();
    let from = "+28d".parse::<Moment>().unwrap().resolve(day0, &rome, Edge::Start);
    assert_eq!(
        from.to_string(),
        "2026-03-29T23:00:00Z"
            .parse::<Timestamp>()
            .unwrap()
            .checked_sub(SignedDuration::from_hours(1))
            .unwrap()
            .to_string()
    );
    let until = "2026-03-08".parse::<Moment>().unwrap().resolve(day0, &rome, Edge::End);
    assert_eq!(until.to_string(), "2026-03-08T23:00:00Z");
}

#[test]
fn a_time_of_day_is_read_in_the_zone_and_a_zone_of_its_own_is_refused() {
    let rome = TimeZone::get("Europe/Rome").unwrap();
    let day0: Date = "2026-03-02".parse().unwrap();
    for (text, instant) in [
        ("2026-04-01T09:00", "2026-04-01T07:00:00Z"),
        ("2026-02-01T09:00:30", "2026-02-01T08:00:30Z"),
        ("2026-03-29T02:30", "2026-03-29T01:30:00Z"),
    ] {
        let moment = text.parse::<Moment>().unwrap();
        assert_eq!(moment.resolve(day0, &rome, Edge::End).to_string(), instant, "{text}");
        assert_eq!(moment.to_string().parse::<Moment>().unwrap(), moment);
    }
    for text in ["2026-04-01T09:00[America/Lima]", "2026-04-01T25:00", "2026-04-01T", "09:00", "2026-04-01T09:00+2"] {
        assert!(text.parse::<Moment>().is_err(), "{text}");
    }
}

#[test]
fn a_cron_schedule_is_read_in_the_zone() {
    let rome = TimeZone::get("Europe/Rome").unwrap();
    let friday: Cron = "0 17 * * FRI".parse().unwrap();
    let next = friday.next_after("2026-03-02T00:00:00Z".parse().unwrap(), &rome).unwrap();
    assert_eq!(next.to_string(), "2026-03-06T16:00:00Z");
    assert!("every friday".parse::<Cron>().is_err());
    assert!("0 99 * * FRI".parse::<Cron>().is_err());
}
