"""The definitions on a real API server, as somebody with kubectl meets them: names, columns, selectors, scaling."""

import json
import os
from pathlib import Path

from harness import apply, definitions, kubectl, namespace, resource

SHORT = {"prog": "programs", "co": "cohorts", "inv": "invites", "fl": "flags", "ga": "gates", "ro": "rollouts", "rbp": "rollbackplans", "rb": "rollbacks",
         "inc": "incidents", "so": "signoffs", "wl": "workloads", "ds": "datasets"}
FLAG = {"type": "boolean", "variants": {"on": True, "off": False}, "defaultVariant": "off"}


def _names(*words, space):
    return [item["metadata"]["name"] for item in json.loads(kubectl("get", *words, "-o", "json", namespace=space).must())["items"]]


def every_kind_has_a_short_name_a_state_and_a_category():
    definitions()
    with namespace("beta-columns") as space:
        apply([resource("Flag", "feed", program="beta", **FLAG), resource("Cohort", "pavia", program="beta", members={"inline": [{"email": "ada@example.com"}]}),
               resource("Gate", "weekly", program="beta", checks=[{"name": "sev1", "incidents": {"severity": "sev-1", "within": "7d"}, "pass": "== 0"}]), resource("Program", "beta", timeZone="UTC")], namespace=space).must()
        for short, plural in SHORT.items():
            kubectl("get", short, namespace=space).must()
            said = json.loads(kubectl("get", "crd", f"{plural}.betagate.dev", "-o", "json").must())["spec"]
            columns = {one["name"]: one["jsonPath"] for one in said["versions"][0]["additionalPrinterColumns"]}
            assert ".status.state" in columns.values(), (plural, columns)
            assert short in said["names"]["shortNames"] and said["names"]["categories"] == ["betagate"], said["names"]
            acted = {"Ready", "Accepted"} & set(columns)
            assert acted or plural == "rollbacks", f"{plural}: whether betagate acted on it is to be seen"
        for words, titles in (("flags", ["KEY", "STATE", "READY", "SUMMARY"]), ("gates", ["VERDICT", "READY", "SUMMARY"]), ("rollouts", []), ("signoffs", [])):
            header = kubectl("get", words, namespace=space).must().split("\n")[0]
            assert all(title in header for title in titles), header
        assert "flag.betagate.dev/feed" in kubectl("get", "betagate", namespace=space).must()


def a_server_selects_by_what_a_resource_says():
    definitions()
    with namespace("beta-selects") as space:
        flags = [resource("Flag", "one", program="beta", **FLAG), resource("Flag", "two", program="other", **FLAG), resource("Flag", "risky", program="beta", risk="high", **FLAG)]
        started = {"title": "Down", "startedAt": "2026-03-03T08:00:00Z"}
        incidents = [resource("Incident", f"{severity}-down", program="beta", severity=severity, **started) for severity in ("sev-1", "sev-3")]
        words = [resource("Signoff", f"{by}-go", program="beta", by=by, says="go", rollout="r", stage="s") for by in ("ana", "bob")]
        apply(flags + incidents + words, namespace=space).must()
        assert _names("flags", "--field-selector=spec.program=beta", space=space) == ["one", "risky"]
        assert _names("flags", "--field-selector=spec.risk=high", space=space) == ["risky"]
        assert _names("incidents", "--field-selector=spec.severity=sev-1", space=space) == ["sev-1-down"]
        assert _names("signoffs", "--field-selector=spec.by=bob,spec.says=go", space=space) == ["bob-go"]


def a_workload_is_scaled_as_a_deployment_is():
    definitions()
    with namespace("beta-scales") as space:
        # What kubectl knows of the kinds of another test's cluster, at the same address, is not this one's.
        fresh = f"--cache-dir={Path(os.environ['KUBECONFIG']).parent / 'fresh-cache'}"
        apply([resource("Workload", "shop", program="beta", component="web", image="registry.example.com/shop:1", replicas=2)], namespace=space).must()
        kubectl(fresh, "scale", "workload/shop", "--replicas=5", "--current-replicas=2", namespace=space).must()
        assert json.loads(kubectl("get", "workload", "shop", "-o", "json", namespace=space).must())["spec"]["replicas"] == 5
        kubectl(fresh, "scale", "workload/shop", "--replicas=5000", namespace=space).refused("spec.replicas")
