//! The lists in `cohorts/` meet their own rules, and the templates in `cohorts/templates/` use no variable that nobody fills.

use betagate::core::cohort::{ListOptions, Needs, Outcome, parse_list};
use betagate::core::resources::CohortSpec;
use minijinja::{Environment, UndefinedBehavior, context};

use crate::support::repository_root;

fn read(file: &str) -> String {
    std::fs::read_to_string(repository_root().join("cohorts").join(file))
        .unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn cohort(name: &str) -> CohortSpec {
    let document: serde_json::Value = serde_saphyr::from_str(&read(&format!("{name}.yaml"))).unwrap();
    serde_json::from_value(document["spec"].clone()).unwrap()
}

#[test]
fn every_list_meets_the_rules_of_its_cohort() {
    for (name, people) in [("pavia", 60), ("us-canary", 24), ("eu-canary", 20), ("soft-launch", 54)] {
        let cohort = cohort(name);
        let needs = Needs { rows: cohort.require.rows, labels: cohort.require.labels, roles: cohort.require.roles };
        let report =
            parse_list(read(&cohort.members.csv.unwrap()).as_bytes(), &ListOptions { needs, ..ListOptions::default() });
        assert_eq!(report.survey.outcome(), Outcome::Clean, "{name}: {:?}", report.survey.problems);
        assert_eq!(report.rows.len(), people, "{name}");
        let ours = |email: &str| [".com", ".org", ".net"].iter().any(|end| email.ends_with(&format!("@example{end}")));
        assert!(report.rows.iter().all(|row| ours(&row.email)), "{name}: invented people have example addresses");
    }
}

/// Renders a template with variables; one that is not given is an error.
fn render(template: &str, variables: minijinja::Value) -> String {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let text = read(&format!("templates/{template}"));
    environment.render_named_str(template, &text, variables).unwrap_or_else(|error| panic!("{template}: {error}"))
}

#[test]
fn an_invite_says_for_whom_it_is_where_to_go_and_until_when() {
    for name in ["pavia", "us-canary", "eu-canary", "soft-launch"] {
        let template = cohort(name).invites.unwrap().template;
        let variables = context! {
            address => "ada@example.com", cohort => name, code => "K7QW-2M4P", link => "http://127.0.0.1:8080/signup?invite=K7QW",
            expiry => "2026-03-16 00:00 CET", feedback_url => "https://kruxt.example/feedback",
        };
        let text = render(&format!("{template}.txt"), variables.clone());
        assert!(text.starts_with("Subject: "), "{template}: the first line is the subject");
        // In HTML a slash is written as &#x2f;, which mail programs read as a slash.
        let html = render(&format!("{template}.html"), variables).replace("&#x2f;", "/");
        for body in [text, html] {
            for needed in
                ["ada@example.com", "/signup?invite=K7QW", "K7QW-2M4P", "2026-03-16", "kruxt.example/feedback"]
            {
                assert!(body.contains(needed), "{template}: {needed}");
            }
        }
    }
}

#[test]
fn a_note_and_an_announcement_can_be_filled() {
    let note = render(
        "incident-note.txt",
        context! {
            program => "kruxt", run => "closed-beta-1", plan => "closed-beta", episode => "1",
            reason => "gate weekly-kpis is Fail: sync-success", since => "2026-03-20T16:00:00Z",
        },
    );
    assert!(note.contains("gate weekly-kpis is Fail: sync-success"));
    let announcement = render(
        "announcement.txt",
        context! { program => "kruxt", cohort => "pavia", expiry => "2026-03-16", feedback_url => "https://kruxt.example/feedback" },
    );
    assert!(announcement.starts_with("Subject: kruxt: pavia opens\n"));
}
