"""Commands of checks and steps as real Jobs, through the whole product: what they answer, what they are given, what keeps them from starting is told, and a step goes on
until its command has ended well."""

import json
from datetime import UTC, datetime

from harness import apply, asked_of, installed, kubectl, resource, wait_for

SPACE = "commands"
PROGRAM = resource("Program", "small", timeZone="UTC", people={"founder": {"kubernetes": ["oidc:ana"]}})
# The token that a pod has of its account, the keys, the database: none of it is there. The shell's own test of a file needs no program.
ALONE = '[ "$TOKEN" = "a word" ] && [ "$A" = b ] && [ -z "$BETAGATE_DATABASE" ] && [ ! -e /var/run/secrets/kubernetes.io ] && [ ! -e /var/lib/betagate ]'


def _sh(script, **more):
    return {"command": ["dash", "-c", script], **more}


# What a check runs, and what its reading is, or says.
CHECKS = {
    "number": (_sh("echo looking >&2; echo some words; echo 7; echo '{}'; echo"), 7.0),
    # Its last fifty lines are 200 KiB: the server would leave out the end.
    "long-lines": (_sh("a=xxxxxxxx; for i in 1 2 3 4 5 6 7 8 9; do a=$a$a; done; for i in 0 1 2 3 4 5 6 7 8 9; do for j in 0 1 2 3 4 5; do echo $a; done; done; echo 7"), 7.0),
    "ratio": (_sh("""echo '{"numerator": 9, "denominator": 10}'"""), 0.9),
    "no-number": (_sh("exit 1"), "it ended with exit code 1 instead of a number"),
    "met": (_sh(ALONE, env={"A": "b"}, secretEnv={"TOKEN": "probe-token/word"}), 1.0),
    # Kubernetes replaces `$(NAME)` and `$$` in what it is given; one machine does not.
    "dollars": (_sh("[ ${#B} = 12 ] && [ 'x$$y' != 'x$'y ]", env={"B": "a$$b$(TOKEN)"}, secretEnv={"TOKEN": "probe-token/word"}), 1.0),
    "missed": (_sh("exit 3"), 0.0),
    "no-data": (_sh("exit 2"), "noData"),
    "killed": (_sh("while :; do :; done", timeout="2s"), "terminated"),
    "not-there": ({"command": ["/no/such/program"]}, "its command is not there, or can't be run"),
    "no-image": (_sh("exit 0", image="betagate.test/nowhere:1"), "betagate.test/nowhere:1"),
    "controller": (_sh("exit 0", serviceAccount="betagate"), "there is no service account 'betagate' with the label betagate.dev/jobs: allowed"),
    "keys": (_sh("exit 0", secretEnv={"KEY": "betagate-keys/invite.key"}), "Secret betagate-keys is betagate's own"),
    "key-missing": (_sh("exit 0", secretEnv={"TOKEN": "probe-token/nothing"}), "couldn't find key nothing in Secret"),
}
WITH_NUMBER = {"number": "<= 10", "long-lines": "<= 10", "ratio": ">= 90%", "no-number": ">= 0"}


def _read():
    """The first reading of each check: its value, or why there is none."""
    rows = json.loads(asked_of(SPACE, "SELECT coalesce(json_agg(json_build_array(check_name, body) ORDER BY at DESC), '[]') FROM readings"))

    def said(outcome):
        return outcome["value"]["value"] if "value" in outcome else outcome["unknown"] if isinstance(outcome["unknown"], str) else outcome["unknown"].get("sourceError")

    return {name: said(body["outcome"]) for name, body in rows}


def _jobs(kind):
    return json.loads(kubectl("get", "jobs", "-l", f"betagate.dev/job={kind}", "-o", "json", namespace=SPACE).must())["items"]


def _checks_answer_as_on_one_machine():
    checks = [{"name": name, "job": job, **({"pass": WITH_NUMBER[name]} if name in WITH_NUMBER else {})} for name, (job, _) in CHECKS.items()]
    apply([{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "probe-token", "labels": {"betagate.dev/jobs": "allowed"}}, "stringData": {"word": "a word"}},
           resource("Gate", "answers", program="small", owner="founder", checks=checks)], namespace=SPACE).must()
    found = wait_for("every check to be read", lambda: len(found := _read()) == len(CHECKS) and found, 90)
    for name, (_, wanted) in CHECKS.items():
        assert found[name] == wanted or isinstance(wanted, str) and wanted in str(found[name]), (name, wanted, found[name])
    wait_for("nothing to be left of them", lambda: not _jobs("check"))


def _a_step_goes_on_until_it_ends_well():
    """A quota lets no pod in: the step says so, and goes on once there is room."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"}, "spec": {"hard": {"count/jobs.batch": "50", "pods": "0"}}}
    apply([quota], namespace=SPACE).must()
    wait_for("the quota to be in force", lambda: kubectl("get", "resourcequota", "full", "-o", "jsonpath={.status.hard.pods}", namespace=SPACE).out == "0")
    step = {"runJob": {"command": ["dash", "-c", 'test "$BETAGATE_RUN/$BETAGATE_STEP" = back-1/2 && test -n "$BETAGATE_EFFECT_KEY"']}}
    plan = resource("RollbackPlan", "back", program="small", when=[{"incident": {"severity": "sev-1", "activeFor": "1s"}}], steps=[{"freezeInvites": {"cohorts": "all"}}, step])
    apply([plan, resource("Incident", "outage", program="small", severity="sev-1", title="it is down", startedAt=datetime.now(UTC).isoformat(timespec="seconds"))], namespace=SPACE).must()
    said = wait_for("the quota to be told", lambda: asked_of(SPACE, "SELECT last_error FROM outbox WHERE kind = 'job' AND last_error IS NOT NULL"))
    assert "exceeded quota: full" in said, said
    kubectl("delete", "resourcequota", "full", namespace=SPACE).must()
    status = wait_for("the run to hold", lambda: (run := kubectl("get", "rollback", "back-1", namespace=SPACE).out) and "Holding" in run and run, 60)
    assert "2 of 2 steps verified" in status, status
    # The pod's end is seen a moment before the Job itself knows of it.
    wait_for("one Job that ended well to stay", lambda: [job["status"].get("succeeded") for job in _jobs("step")] == [1])
    assert [job["metadata"]["annotations"]["betagate.dev/ended"] for job in _jobs("step")] == ["well"], "whatever goes on beside it"


def commands_run_as_jobs_under_an_account_that_is_allowed(pods):
    with installed(SPACE, "--set=jobs.image=betagate.test/dash:dev"):
        apply([PROGRAM], namespace=SPACE).must()
        _checks_answer_as_on_one_machine()
        _a_step_goes_on_until_it_ends_well()
