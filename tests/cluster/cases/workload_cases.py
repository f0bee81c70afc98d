"""Workloads as real pods, through the whole product: kubectl in, Deployments and pods out. A version rolls without a refused request and migrates first; what never gets
ready replaces nothing, and is told; a rollback's steps scale, go back and replace; a Secret that changes replaces the pods that read it."""

import json
import threading
import urllib.request
from datetime import UTC, datetime

from harness import apply, installed, kubectl, read, resource, wait_for

SPACE = "workloads"
DEV, NEXT, NOWHERE = "betagate.test/betagate:dev", "betagate.test/betagate:next", "betagate.test/nowhere:1"
API = {"component": "api", "replicas": 2, "port": 80}
PROGRAM = resource("Program", "small", timeZone="UTC", people={"founder": {"kubernetes": ["oidc:ana"]}})


def _workload(name, component="worker", **spec):
    return resource("Workload", name, program="small", component=component, **spec)


def _status(kind, name):
    return read(kind, name, SPACE)["status"]


def _condition(name, kind):
    return next(one for one in _status("workload", name)["conditions"] if one["type"] == kind)


def _events(name):
    listed = json.loads(kubectl("get", "events.events.k8s.io", "-o", "json", namespace=SPACE).must())["items"]
    return {one["reason"] for one in listed if one["regarding"].get("kind") == "Workload" and one["regarding"].get("name") == name}


def _pods(name):
    """The pods of a workload that stay, by name: their revision, and whether they are ready."""
    listed = json.loads(kubectl("get", "pods", "-l", f"betagate.dev/workload={name}", "-o", "json", namespace=SPACE).must())["items"]
    ready = lambda pod: any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", []))  # noqa: E731
    return {pod["metadata"]["name"]: (pod["metadata"]["labels"]["betagate.dev/revision"], ready(pod)) for pod in listed if not pod["metadata"].get("deletionTimestamp")}


def _all_ready(name, count):
    pods = _pods(name)
    return pods if len(pods) == count and len({revision for revision, _ in pods.values()}) == 1 and all(ready for _, ready in pods.values()) else None


def _revision(name):
    return read("deployment", name, SPACE)["metadata"]["labels"]["betagate.dev/revision"]


def _token(word):
    apply([{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}, "stringData": {"value": word}}], namespace=SPACE).must()


class _Visitors:
    """Somebody who asks all the time, and counts what is refused."""

    def __init__(self, url):
        self.url, self.asked, self.refused, self.ending = url, 0, [], threading.Event()
        self.threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(2)]

    def _ask(self):
        while not self.ending.is_set():
            try:
                with urllib.request.urlopen(self.url, timeout=10) as answer:
                    answer.read()
            except OSError as error:
                self.refused.append(str(error))
            self.asked += 1
            self.ending.wait(0.01)

    def __enter__(self):
        [thread.start() for thread in self.threads]
        return self

    def __exit__(self, *_):
        self.ending.set()
        [thread.join(30) for thread in self.threads]


def _rolls_without_a_refused_request():
    """Another version: its migration first, then pod by pod."""
    first, service = _revision("api"), read("service", "api", SPACE)["spec"]["clusterIP"]
    assert kubectl("get", "jobs", "-l", "betagate.dev/workload=api", "-o", "name", namespace=SPACE).must() == "", "the controller's own version needs no migration"
    with _Visitors(f"http://{service}/healthz") as visitors:
        apply([_workload("api", **API, image=NEXT)], namespace=SPACE).must()
        wait_for("the next version", lambda: _revision("api") != first and _all_ready("api", 2), 120)
        kubectl("rollout", "status", "deployment/api", "--timeout=120s", namespace=SPACE).must()
    assert visitors.asked > 50 and not visitors.refused, (visitors.asked, visitors.refused[:3])
    job = json.loads(kubectl("get", "jobs", "-l", "betagate.dev/workload=api", "-o", "json", namespace=SPACE).must())["items"][0]
    listed = json.loads(kubectl("get", "pods", "-l", f"betagate.dev/revision={_revision('api')}", "-o", "json", namespace=SPACE).must())["items"]
    born = [pod["metadata"]["creationTimestamp"] for pod in listed]
    assert job["status"]["succeeded"] == 1 and job["status"]["completionTime"] <= min(born), (job["status"], born)
    wait_for("it to be told", lambda: _status("workload", "api")["state"] == "Ready")


def _an_image_that_is_nowhere_opens_no_stage():
    """A stage brings a version that never gets ready: the next stage does not open, and the old pods stay."""
    before, revision = _pods("api"), _revision("api")
    check = {"name": "up", "fact": "workload.ready", "of": "api", "pass": "== 1"}
    stages = [{"name": "canary", "workloads": {"api": NOWHERE}}, {"name": "everyone", "enter": {"gates": [{"name": "api-up"}]}}]
    apply([resource("Gate", "api-up", program="small", owner="founder", checks=[check])], namespace=SPACE).must()
    wait_for("the gate to pass", lambda: _status("gate", "api-up")["state"] == "Pass")
    apply([resource("Rollout", "versions", program="small", stages=stages)], namespace=SPACE).must()
    wait_for("it to be stalled", lambda: _condition("api", "Stalled")["status"] == "True", 120)
    status = _status("workload", "api")
    assert status["state"] == "Stalled" and f"ImagePullBackOff: {NOWHERE}" in status["summary"], status
    assert _condition("api", "Ready")["status"] == "False"
    wait_for("an event of it", lambda: "Stalled" in _events("api"))
    wait_for("the gate to see it", lambda: _status("gate", "api-up")["state"] == "Fail")
    assert "stage canary is open" in _status("rollout", "versions")["summary"], _status("rollout", "versions")
    still = {name: what for name, what in _pods("api").items() if what[0] == revision}
    assert still == before, (still, before)
    listed = kubectl("get", "workload", "api", namespace=SPACE).must()
    assert "Stalled" in listed and "ImagePullBackOff" in listed, listed
    # The stage names another one, and it goes on.
    stages[0]["workloads"]["api"] = DEV
    apply([resource("Rollout", "versions", program="small", stages=stages)], namespace=SPACE).must()
    wait_for("the next stage", lambda: "stage everyone is open" in _status("rollout", "versions")["summary"], 120)
    assert _all_ready("api", 2) and _revision("api") != revision
    wait_for("it to go on", lambda: _condition("api", "Stalled")["status"] == "False")


def _a_migration_that_cant_begin_is_told_until_it_can():
    wait_for("the missing Secret to be told", lambda: "the migration does not start" in _status("workload", "crew")["summary"])
    assert 'secret "token" not found' in _condition("crew", "Stalled")["message"] and _condition("crew", "Stalled")["status"] == "True", _status("workload", "crew")
    wait_for("an event of it", lambda: "Stalled" in _events("crew"))
    assert not kubectl("get", "deployment", "crew", namespace=SPACE).done, "a pod of the new image was started"
    _token("an early word")
    wait_for("the crew to be ready", lambda: _all_ready("crew", 1), 120)


def _a_secret_that_changes_replaces_the_pods():
    before = _pods("crew")
    _token("a later word")
    after = wait_for("the crew to be replaced", lambda: (pods := _all_ready("crew", 1)) and pods.keys().isdisjoint(before) and pods, 120)
    assert {revision for revision, _ in after.values()} == {revision for revision, _ in before.values()}, "its revision is the same"


def _steps_scale_revert_and_restart():
    before = _pods("crew")
    steps = [{"scaleWorkload": {"workload": "crew", "replicas": 2}}, {"restartWorkload": {"workload": "crew"}}]
    plan = resource("RollbackPlan", "back", program="small", when=[{"incident": {"severity": "sev-1", "activeFor": "1s"}}], steps=steps)
    apply([plan, resource("Incident", "outage", program="small", severity="sev-1", title="the crew is down", startedAt=datetime.now(UTC).isoformat(timespec="seconds"))], namespace=SPACE).must()
    run = wait_for("the run to hold", lambda: (status := _status("rollback", "back-1"))["state"] == "Holding" and status, 120)
    assert "2 of 2 steps verified" in run["summary"], run
    after = _all_ready("crew", 2)
    assert after and after.keys().isdisjoint(before), (after, before)
    scale = json.loads(kubectl("get", "--raw", f"/apis/betagate.dev/v1alpha1/namespaces/{SPACE}/workloads/crew/scale").must())
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (1, 2), "what is asked for, and what the run makes of it"
    chosen = kubectl("get", "pods", "-l", scale["status"]["selector"], "--field-selector=status.phase=Running", "-o", "name", namespace=SPACE).must()
    assert {f"pod/{name}" for name in after} <= set(chosen.split()) and "crew" in chosen and "api" not in chosen, (scale, chosen)


def workloads_roll_migrate_first_are_held_back_where_they_never_get_ready_and_obey_a_rollback(pods):
    with installed(SPACE):
        # A migration that fails takes its time to be given up: it is told of at the end.
        fails = _workload("fails", image=DEV, command=["/usr/bin/betagate", "worker"], migrate=["/usr/bin/betagate", "no-such-command"])
        crew = _workload("crew", image=NEXT, migrate=["/usr/bin/betagate", "--version"], secretEnv={"TOKEN": "token"})
        # Whoever may write a workload may not thereby have the keys.
        greedy = _workload("greedy", image=DEV, command=["/usr/bin/betagate", "worker"], secretEnv={"K": "betagate-keys/admin.token"})
        apply([PROGRAM, fails, crew, greedy, _workload("api", **API)], namespace=SPACE).must()
        wait_for("the API to be ready", lambda: _all_ready("api", 2), 120)
        _rolls_without_a_refused_request()
        _a_migration_that_cant_begin_is_told_until_it_can()
        _a_secret_that_changes_replaces_the_pods()
        _an_image_that_is_nowhere_opens_no_stage()
        _steps_scale_revert_and_restart()
        wait_for("the failed migration to be told", lambda: "the migration failed (" in _condition("fails", "Stalled")["message"], 120)
        wait_for("an event of it", lambda: "Stalled" in _events("fails"))
        assert "Secret betagate-keys is betagate's own: no workload is given it" in _condition("greedy", "Stalled")["message"]
        for name in ("fails", "greedy"):
            assert not kubectl("get", "deployment", name, namespace=SPACE).done, name
