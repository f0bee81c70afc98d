//! Flag definitions as they are published.

use serde_json::json;

use super::*;

#[test]
fn a_schedule_is_published_with_instants_of_the_programs_zone() {
    let mut world = world();
    put(
        &mut world.desired.flags,
        "sale",
        "{program: beta, type: boolean, variants: {\"on\": true, \"off\": false}, defaultVariant: \"off\", schedule: [
          {from: 2026-03-29T09:00, until: 2026-04-05, variant: \"on\"}, {from: +60d, targeting: {if: [true, \"on\"]}}]}",
    );
    world.settle();
    assert_eq!(
        world.flag("sale")["schedule"],
        json!([
            { "from": "2026-03-29T07:00:00Z", "until": "2026-04-05T22:00:00Z", "variant": "on" },
            { "from": "2026-04-30T22:00:00Z", "targeting": { "if": [true, "on"] } },
        ])
    );
}

#[test]
fn the_state_of_a_flag_says_that_it_is_held_and_why_and_an_incident_says_that_it_is_open() {
    let mut world = world();
    world.healthy();
    world.settle();
    assert_eq!(world.last.states["Flag/boost"].summary, "on");
    world.incident("down", "2026-03-02T09:00:00Z");
    world.advance_to("2026-03-02T09:31:00Z");
    world.settle();
    let flag = &world.last.states["Flag/boost"];
    assert_eq!(flag.state, "Held");
    assert!(flag.summary.starts_with("served at off by pull-back-1/2: "), "{}", flag.summary);
    assert_eq!(world.last.states["Incident/down"].state, "Open");
    world.resolve("down");
    world.settle();
    assert_eq!(world.last.states["Incident/down"].state, "Closed");
    world.advance(SignedDuration::from_hours(8 * 24));
    world.settle();
    assert!(!world.last.states.contains_key("Incident/down"));
}
