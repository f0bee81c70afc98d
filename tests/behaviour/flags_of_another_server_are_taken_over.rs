//! Definitions of flagd and of the OpenFeature Operator: imported, valid, served; and flags that change on schedule or with others.

use serde_json::json;

use super::a_program_runs_from_yaml_to_an_ordered_rollback_and_back::kruxt;
use crate::support::beta::Beta;
use crate::support::{Betagate, TestRepo, databases};

const FLAGD: &str = r##"{
  "$schema": "https://flagd.dev/schema/v0/flags.json",
  "flags": {
    "new-checkout": {
      "state": "ENABLED", "variants": { "on": true, "off": false }, "defaultVariant": "off",
      "targeting": { "if": [{ "$ref": "staff" }, "on", { "fractional": [["on", 25], ["off", 75]] }] }
    },
    "header": { "state": "ENABLED", "variants": { "red": "#c00", "no": "no" }, "defaultVariant": "red" }
  },
  "$evaluators": { "staff": { "ends_with": [{ "var": "targetingKey" }, "@gym.example"] } },
  "metadata": { "flagSetId": "shop" }
}"##;

const RESOURCE: &str = "apiVersion: core.openfeature.dev/v1beta1
kind: FeatureFlag
metadata: { name: greetings, namespace: shop }
spec:
  flagSpec:
    flags:
      greeting: { state: ENABLED, variants: { short: hi, long: \"good morning\" }, defaultVariant: short }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imported_flags_are_valid_and_served_as_they_were() {
    for db in databases() {
        let (repo, theirs) = (kruxt(), TestRepo::empty());
        let flagd = theirs.write("flagd/flags.json", FLAGD);
        theirs.write("flagd/operator.yaml", RESOURCE);
        let import = |from: &std::path::Path| {
            let (from, out) = (from.display().to_string(), repo.path().join("flags/imported").display().to_string());
            Betagate::new(["import", "flagd", &from, "--program", "kruxt", "--out", &out])
        };
        let broken = theirs.write("broken.json", r#"{ "flags": { "a": { "variants": { "x": 1, "y": "z" } }, "b": { "state": "on", "variants": { "x": 1 } } } }"#);
        let refused = import(&broken).run().expect_code(1).stderr;
        assert!(
            refused.contains("flag 'a': its variants are not of one type") && refused.contains("flag 'b': its state"),
            "{refused}"
        );
        assert!(!repo.path().join("flags/imported").exists(), "nothing was written");
        import(&theirs.path().join("flagd")).run().expect_code(0);
        Betagate::new(["validate", &repo.path().display().to_string()]).run().expect_code(0);
        assert!(import(&flagd).run().expect_code(1).stderr.contains("there already"));
        let mut beta = Beta::start(&db, repo, "2026-03-03T08:00:00Z").await;
        beta.pass().await;
        let staff = beta.flag("new-checkout", "ada@gym.example").await;
        assert_eq!((&staff["value"], &staff["reason"]), (&json!(true), &json!("TARGETING_MATCH")), "{staff}");
        assert_eq!(staff["metadata"]["flagSetId"], "shop");
        assert_eq!(beta.flag("header", "u1").await["value"], "#c00");
        assert_eq!(beta.flag("greeting", "u1").await["value"], "hi");
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flag_changes_at_its_second_without_a_pass_and_takes_those_that_require_it_along() {
    for db in databases() {
        let repo = kruxt();
        let flag = |name: &str, rest: &str| {
            format!(
                "{{ kind: Flag, metadata: {{ name: {name} }}, spec: {{ program: kruxt, type: boolean, variants: {{ \"on\": true, \"off\": false }}, defaultVariant: \"off\", {rest} }} }}\n"
            )
        };
        repo.write(
            "flags/sale.yaml",
            &flag("sale", "schedule: [ { from: 2026-03-05T09:00, until: 2026-03-06, variant: \"on\" } ]"),
        );
        repo.write(
            "flags/banner.yaml",
            &flag("banner", "targeting: { if: [ true, \"on\" ] }, requires: [ { flag: sale, variant: \"on\" } ]"),
        );
        let mut beta = Beta::start(&db, repo, "2026-03-03T08:00:00Z").await;
        beta.pass().await;
        // Rome is an hour ahead of UTC, and a bare date ends with its day.
        for (now, variant) in [
            ("2026-03-05T07:59:59Z", "off"),
            ("2026-03-05T08:00:00Z", "on"),
            ("2026-03-06T22:59:59Z", "on"),
            ("2026-03-06T23:00:00Z", "off"),
        ] {
            beta.at(now);
            for key in ["sale", "banner"] {
                assert_eq!(beta.flag(key, "u1").await["variant"], variant, "{key} at {now}");
            }
        }
        beta.store.close().await;
    }
}
