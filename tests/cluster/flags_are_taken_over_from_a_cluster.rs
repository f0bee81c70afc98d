//! `betagate import flagd cluster` reads the resources of the OpenFeature Operator where they are.

use crate::support::{Betagate, TestRepo};
use crate::{define, kubectl};

/// The operator's kind, as far as it matters here.
const KIND: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: featureflags.core.openfeature.dev }
spec:
  group: core.openfeature.dev
  names: { kind: FeatureFlag, listKind: FeatureFlagList, plural: featureflags, singular: featureflag }
  scope: Namespaced
  versions:
    - name: v1beta1
      served: true
      storage: true
      schema: { openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true } }
";
const FLAGS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: core.openfeature.dev/v1beta1
kind: FeatureFlag
metadata: { name: checkout, namespace: shop }
spec:
  flagSpec:
    flags:
      new-checkout:
        state: ENABLED
        variants: { "on": true, "off": false }
        defaultVariant: "off"
        targeting: { if: [ { ends_with: [ { var: email }, "@example.com" ] }, "on" ] }
---
apiVersion: core.openfeature.dev/v1beta1
kind: FeatureFlag
metadata: { name: colours, namespace: default }
spec:
  flagSpec:
    flags:
      colour: { state: ENABLED, variants: { red: "f00", blue: "00f" }, defaultVariant: red }
"#;

#[test]
fn flags_are_taken_over_from_a_cluster() {
    let repo = TestRepo::empty();
    let import = |words: &str| {
        Betagate::new(format!("import flagd cluster --program kruxt {words}").trim().split(' '))
            .within(repo.path())
            .run()
    };
    let without_operator = import("").expect_code(1);
    assert!(without_operator.stderr.contains("the cluster has no FeatureFlag"), "{without_operator:?}");
    define("-", KIND);
    let none = import("").expect_code(1);
    assert!(none.stderr.contains("no FeatureFlag"), "{none:?}");
    let applied = kubectl("apply -f -", FLAGS);
    assert!(applied.done, "{}", applied.text);

    import("--out flags").expect_code(0);
    assert!(repo.read("flags/new-checkout.yaml").contains("ends_with"));
    assert!(repo.read("flags/colour.yaml").contains("defaultVariant: red"));
    let one = import("--namespace shop").expect_code(0).stdout;
    assert!(one.contains("new-checkout") && !one.contains("colour"), "{one}");
    // What the cluster gives is what its export gives.
    let exported = kubectl("get featureflags -n shop -o yaml", "");
    repo.write("all.yaml", &exported.text);
    let from_file =
        Betagate::new(["import", "flagd", "all.yaml", "--program", "kruxt"]).within(repo.path()).run().expect_code(0);
    assert_eq!(one, from_file.stdout);

    let refused = import("--context nobody").expect_code(1);
    assert!(refused.stderr.contains("the cluster refuses") && refused.stderr.contains("cannot list"), "{refused:?}");
    assert!(import("--context nowhere").expect_code(1).stderr.contains("no way to a cluster"));
    let away = Betagate::new(["import", "flagd", "cluster", "--program", "kruxt"])
        .within(repo.path())
        .env("KUBECONFIG", "/dev/null")
        .run();
    away.expect_code(1);
}
