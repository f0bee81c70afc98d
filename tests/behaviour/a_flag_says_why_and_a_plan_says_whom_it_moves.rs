//! Explanations over HTTP and on the command line, for administrators only; and whom a change of a flag would move.

use serde_json::{Value, json};

use super::a_program_runs_from_yaml_to_an_ordered_rollback_and_back::kruxt;
use crate::support::beta::{ADMIN, Beta};
use crate::support::{Betagate, databases};

const PATH: &str = "/v1/flags/ml_recommendations_enabled/explain";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layer_rule_cohort_and_commit_are_told_to_administrators_only() {
    for db in databases() {
        let mut beta = Beta::start(&db, kruxt(), "2026-03-03T08:00:00Z").await;
        for _ in 0..3 {
            beta.pass().await;
        }
        let (email, code) = beta.invitations().remove(0);
        let (status, tokens) = beta.register(&email, &code).await;
        assert_eq!(status, 201, "{tokens}");
        assert_eq!(beta.get(PATH, None).await.0, 401);
        assert_eq!(beta.get(PATH, tokens["accessToken"].as_str()).await.0, 403);
        // As another spells it: an address is the same person in any case.
        let context = json!({ "targetingKey": email.to_uppercase() });
        let (_, told) = beta.post(PATH, Some(ADMIN), &json!({ "context": context })).await;
        assert_eq!((&told["variant"], &told["layer"]), (&json!("on"), &json!("rule")), "{told}");
        assert_eq!(told["rule"]["conditions"][0]["held"], true);
        assert_eq!(told["rule"]["pointer"], "/targeting/if/1");
        assert_eq!(told["cohorts"], json!(["kruxt/pavia"]));
        assert!(told["commit"].as_str().is_some_and(|commit| !commit.is_empty()));
        let (_, asked) =
            beta.get(&format!("{PATH}?context=%7B%22targetingKey%22%3A%22stranger%22%7D"), Some(ADMIN)).await;
        assert_eq!((&asked["variant"], &asked["cohorts"]), (&json!("off"), &json!([])), "{asked}");
        assert_eq!(beta.get(&format!("{PATH}?context=%5B%5D"), Some(ADMIN)).await.0, 400);
        assert_eq!(beta.post(PATH, Some(ADMIN), &json!({ "context": { "targetingKey": 5 } })).await.0, 400);
        assert_eq!(beta.get("/v1/flags/no_such_flag/explain", Some(ADMIN)).await.0, 404);
        let arguments = |key: &'static str, output: &'static str| {
            let data = beta.data.display().to_string();
            Betagate::new(
                [
                    "flag",
                    "get",
                    key,
                    "--explain",
                    "--context",
                    &context.to_string(),
                    "--data",
                    &data,
                    "--database",
                    &beta.url,
                    "-o",
                    output,
                ]
                .map(str::to_owned),
            )
        };
        let shown = arguments("ml_recommendations_enabled", "json").run().expect_code(0);
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
        assert_eq!(shown, told, "the command line says what the API says");
        let text = arguments("ml_recommendations_enabled", "table").run().expect_code(0).stdout;
        assert!(text.starts_with("ml_recommendations_enabled = true (on, TARGETING_MATCH), decided by rule"), "{text}");
        assert!(text.contains("in kruxt/pavia") && text.contains("{\"in_cohort\":[\"pavia\"]}: held"), "{text}");
        let missing = arguments("ml_recommendation_enabled", "table").run().expect_code(1).stderr;
        assert!(missing.contains("did you mean ml_recommendations_enabled?"), "{missing}");
        beta.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_says_how_many_members_a_change_moves() {
    for db in databases() {
        let mut beta = Beta::start(&db, kruxt(), "2026-03-03T08:00:00Z").await;
        for _ in 0..3 {
            beta.pass().await;
        }
        for (email, code) in beta.invitations().into_iter().take(3) {
            assert_eq!(beta.register(&email, &code).await.0, 201);
        }
        beta.repo.replace(
            "flags/ml-recommendations.yaml",
            "{ in_cohort: [pavia] }, \"on\", \"off\"",
            "{ in_cohort: [pavia] }, \"off\"",
        );
        let (folder, data) = (beta.repo.path().display().to_string(), beta.data.display().to_string());
        let plan = Betagate::new(["plan", &folder, "--data", &data, "--database", &beta.url]).run().expect_code(2);
        assert!(
            plan.stdout.contains(
                "flag ml_recommendations_enabled: targeting changed\n    moves 3 of 3 cohort members: on → off 3"
            ),
            "{}",
            plan.stdout
        );
        beta.store.close().await;
    }
}
