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
