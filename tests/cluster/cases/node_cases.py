"""A node that is lost, as its workloads see it: its pods are not ready, the workload says why, no stage opens on it, and all goes on once it is back.

The controller is a process of its own, as on another machine: what is lost here is what it deploys to.
"""

import contextlib
import json
import os
from datetime import UTC, datetime

from harness import apply, kubectl, resource, run, wait_for
from own_server import beta

STAGED = [
    resource("Program", "small", timeZone="UTC", people={"founder": {"kubernetes": ["admin"]}}),
    resource("Cohort", "pavia", program="small", members={"inline": [{"email": "ada@example.com"}]}),
    resource("Workload", "crew", program="small", component="worker", image="betagate.test/pause:1", replicas=2),
    resource("Gate", "up", program="small", owner="founder", checks=[{"name": "ready", "fact": "workload.ready", "of": "crew", "pass": "== 1"}]),
    resource("Rollout", "all", program="small", stages=[{"name": "first", "enter": {"gates": [{"name": "up"}], "signoffs": {"from": ["founder"]}}, "cohorts": ["pavia"]}]),
]
GO = resource("Signoff", "go", program="small", by="founder", says="go", rollout="all", stage="first")


@contextlib.contextmanager
def _lost():
    """The kubelet says nothing any more, as when its machine is lost; afterwards it goes on."""
    own = [] if os.geteuid() == 0 else ["sudo", "-n"]
    run(*own, "kill", "-STOP", os.environ["BETAGATE_TEST_KUBELET_PID"]).must()
    try:
        yield
    finally:
        run(*own, "kill", "-CONT", os.environ["BETAGATE_TEST_KUBELET_PID"]).must()
        wait_for("the node to be ready again", lambda: _node_says() == "True")


def _node_says():
    return kubectl("get", "node", "node1", "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}").must()


def _pods(space):
    listed = json.loads(kubectl("get", "pods", "-l", "betagate.dev/workload=crew", "-o", "json", namespace=space).must())["items"]
    return {pod["metadata"]["name"] for pod in listed if not pod["metadata"].get("deletionTimestamp")}


def a_node_that_is_lost_is_told_and_no_stage_opens_until_it_is_back(pods):
    with beta("lost-node") as one:
        leader = one.controller("first", "--image=betagate.test/betagate:dev")
        apply(STAGED, namespace=one.space).must()
        wait_for("the workload to be ready", lambda: one.state("workload/crew") == "Ready", 120)
        wait_for("the gate to pass", lambda: one.state("gate/up") == "Pass")
        before, wanted, lease = _pods(one.space), one.read("deployment/crew")["metadata"]["generation"], one.lease()
        with _lost():
            wait_for("the node to be unknown", lambda: _node_says() == "Unknown")
            wait_for("the workload to be told", lambda: one.state("workload/crew") == "Rolling")
            told = wait_for("the reason to be told", lambda: (said := one.summary("workload/crew")).startswith("0 of 2 ready") and "node node1 is not heard of" in said and said)
            assert one.condition("workload/crew", "Ready")[0] == "False", told
            wait_for("the gate to fail", lambda: one.state("gate/up") == "Fail")
            apply([GO], namespace=one.space).must()
            wait_for("the word to be heard", lambda: one.read("signoff/go").get("status", {}).get("observedGeneration") == 1)
            # As Kubernetes itself does with pods of a node that is away for five minutes.
            [leaves, *_] = sorted(before)
            kubectl("delete", "pod", leaves, "--wait=false", namespace=one.space).must()
            wait_for("another pod, for which there is no node", lambda: _pods(one.space) - before)
            assert one.state("gate/up") == "Fail" and one.state("cohort/pavia") != "Open"
            # The moment before it is back: what opens has to open later.
            back = datetime.now(UTC)
        wait_for("the workload to be ready again", lambda: one.state("workload/crew") == "Ready", 120)
        wait_for("the stage to open", lambda: one.state("cohort/pavia") == "Open")
        assert before - _pods(one.space) == {leaves}, "the others are the same pods"
        assert one.read("deployment/crew")["metadata"]["generation"] == wanted, "nothing was written to the Deployment"
        assert one.lease() == lease and leader.runs()
        [(opened,)] = one.of_record("SELECT at FROM audit_log WHERE object = 'Rollout/all' AND action = 'StageOpened'")
        assert opened > back.timestamp() * 1_000_000, "it opened while the node was away"
