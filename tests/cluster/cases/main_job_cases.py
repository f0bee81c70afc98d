"""The main job on a cluster: the repository's own KRUXT, applied with kubectl by people who are who they say; pods that the controller deploys; an invite redeemed; a
flag served by both API pods; a critical reading of a real Prometheus fails; the steps in order, in force, and finished by another controller when the leader dies;
the API one revision back."""

import base64
import json
import os
import urllib.error
import urllib.request
from pathlib import Path

from harness import ROOT, apply, asked_of, documents_of, installed, kubectl, read, resource, scraped, wait_for

SPACE = "main-job"
FLAG = "ml_recommendations_enabled"
HELD = {"public-feed-boost", "provider-fitbit", "provider-oura", "ml-recommendations"}
STEPS = ["freezeInvites", "disableFlags", "keepOnline", "routeToFallback", "publishNote", "captureRootCause", "holdReviews", "revertWorkload"]
# Refused registrations, of which a few are nothing.
REFUSED = f'sum(betagate_registrations_refused_total{{namespace="{SPACE}"}}) or vector(0)'
# The steps of the run in the order in which they came into force.
IN_ORDER = "SELECT substring(detail::text FROM 'step ([0-9]+) ') FROM audit_log WHERE object = 'Rollback/closed-beta-1' AND detail::text LIKE '%step %' AND action LIKE '%StepInForce%' ORDER BY seq"
PORT = 8080
NEXT = "betagate.test/betagate:next"


def _kruxt():
    """The documents of KRUXT, with a gate that reads Prometheus, and the plan that acts on it, the API one revision back too."""
    found = documents_of("", *(path for folder in ("manifests/kruxt", "flags", "cohorts") for path in sorted((ROOT / folder).rglob("*.yaml"))))
    own = [one for one in found if one["spec"].get("program") == "kruxt" or one["metadata"]["name"] == "kruxt"]
    for one in own:
        one["metadata"] = {"name": one["metadata"]["name"]}
    named = {(one["kind"], one["metadata"]["name"]): one["spec"] for one in own}
    program = named["Program", "kruxt"]
    program["sources"] = {"prom": {"prometheus": {"url": os.environ["BETAGATE_TEST_PROMETHEUS"]}}}
    check = {"name": "refused", "prometheus": REFUSED, "source": "prom", "pass": "<= 3", "critical": True}
    own.append(resource("Gate", "doors", program="kruxt", owner="founder", measure={"every": "5s"}, checks=[check]))
    plan = named["RollbackPlan", "closed-beta"]
    plan["when"].append({"gate": {"name": "doors", "verdict": "Fail", "critical": True}})
    plan["steps"].append({"revertWorkload": {"workload": "api"}})
    return own, named


def _files():
    """What documents name: lists and messages."""
    for folder, name in [("cohorts", "lists"), ("cohorts/templates", "messages")]:
        data = {path.name: path.read_text() for path in (ROOT / folder).iterdir() if path.suffix in (".csv", ".txt", ".html")}
        labels = {"betagate.dev/files": folder.rsplit("/", 1)[-1]}
        yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": data}


def _pods(workload):
    pods = json.loads(kubectl("get", "pods", "-l", f"betagate.dev/workload={workload}", "-o", "json", namespace=SPACE).must())["items"]
    return [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]


def _ask(url, body=None, token=None):
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    asked = urllib.request.Request(url, json.dumps(body).encode() if body is not None else None, headers)
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, json.loads(answer.read() or "null")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def _served(email, token, flag=FLAG):
    """What each API pod serves somebody."""
    body = {"context": {"targetingKey": email}}
    answers = [_ask(f"http://{pod['status']['podIP']}:{PORT}/ofrep/v1/evaluate/flags/{flag}", body, token) for pod in _pods("api")]
    return [answer.get("variant") if status == 200 else f"{status}: {answer}" for status, answer in answers]


def _people_sign(words, people):
    """Everybody gives their own word, as themselves."""
    users = {word["spec"]["by"]: people[word["spec"]["by"]]["kubernetes"][0] for word in words}
    kubectl("create", "rolebinding", "people", "--clusterrole=betagate-reviewer", *(f"--user={user}" for user in users.values()), namespace=SPACE).must()
    wait_for("the roles to be put together", lambda: apply(words[:1], namespace=SPACE, user=users[words[0]["spec"]["by"]]).done)
    for name, user in users.items():
        apply([word for word in words if word["spec"]["by"] == name], namespace=SPACE, user=user).must()


def _code_of(email):
    """The code in someone's message, which the leader wrote out for review."""
    for message in Path(os.environ["BETAGATE_TEST_KUBELET"]).glob("pods/*/volumes/kubernetes.io~empty-dir/data/mail/*.eml"):
        text = message.read_text()
        if f"To: {email}" in text:
            return next(line.removeprefix("Your code is ").split(".")[0] for line in text.splitlines() if line.startswith("Your code is "))
    return None


def _leader():
    return read("lease", "betagate-controller", SPACE)["spec"].get("holderIdentity", "")


def _run():
    return read("rollback", "closed-beta-1", SPACE)


def _image():
    deployment = read("deployment", "api", SPACE)
    return deployment["spec"]["template"]["spec"]["containers"][0]["image"], deployment["metadata"]["labels"]["betagate.dev/revision"]


def the_main_job_from_install_to_an_ordered_rollback_that_survives_its_leader(pods):
    with installed(SPACE):
        token = base64.b64decode(read("secret", "betagate-keys", SPACE)["data"]["admin.token"]).decode()
        own, named = _kruxt()
        apply([*_files(), *(one for one in own if one["kind"] != "Signoff")], namespace=SPACE).must()
        for name in ("api", "worker"):
            wait_for(f"{name} to be ready", lambda: kubectl("wait", "--for=condition=Ready", f"workload/{name}", "--timeout=5s", namespace=SPACE).must(), 120)
        _people_sign([one for one in own if one["kind"] == "Signoff"], named["Program", "kruxt"]["people"])
        wait_for("the pilot to open", lambda: "stage pilot is open" in read("rollout", "closed-beta", SPACE)["status"]["summary"], 90)

        # An invite applied with kubectl is redeemed through the Service, once.
        apply([resource("Invite", "ada", program="kruxt", cohort="pavia", email="ada@example.com")], namespace=SPACE).must()
        code = wait_for("the message with the code", lambda: _code_of("ada@example.com"))
        service = read("service", "api", SPACE)["spec"]
        register = f"http://{service['clusterIP']}:{service['ports'][0]['port']}/v1/auth/register"
        person = {"email": "ada@example.com", "password": "a long enough password", "invite": code}
        status, said = _ask(register, person)
        assert status == 201, (status, said)
        again = person | {"email": "eve@example.com"}
        assert _ask(register, again)[0] == 403, _ask(register, again)
        wait_for("both pods to know that she is in", lambda: _served("ada@example.com", token) == ["on", "on"])
        assert _served("stranger@example.org", token) == ["off", "off"]
        # A flag that is applied while it runs is served by both.
        apply([resource("Flag", "late", program="kruxt", type="string", variants={"a": "a", "b": "b"}, defaultVariant="b")], namespace=SPACE).must()
        wait_for("both pods to serve the new flag", lambda: _served("ada@example.com", token, "late") == ["b", "b"])

        # A new version of the API, once the first one has stood up long enough to be one to go back to.
        first = _image()
        proven = "SELECT count(*) FROM workload_revisions WHERE workload = 'api' AND proven_at IS NOT NULL"
        wait_for("the first version to be one to go back to", lambda: asked_of(SPACE, proven) == "1", 120)
        apply([resource("Workload", "api", **named["Workload", "api"] | {"image": NEXT})], namespace=SPACE).must()
        wait_for("the new version", lambda: _image()[0] == NEXT and _image()[1] != first[1], 120)
        kubectl("rollout", "status", "deployment/api", "--timeout=120s", namespace=SPACE).must()
        assert _served("ada@example.com", token) == ["on", "on"]

        # Somebody knocks with made-up codes; Prometheus sees it, the gate fails, the plan runs.
        with scraped(SPACE, PORT) as seen:
            assert seen == 2, seen
            wait_for("the gate to pass", lambda: read("gate", "doors", SPACE)["status"]["state"] == "Pass")
            for n in range(6):
                _ask(register, {"email": f"nobody{n}@example.org", "password": "a long enough password", "invite": "A" * 32})
            wait_for("the run to be under way", lambda: _run()["status"]["state"] == "Running" and _run()["status"]["holds"], 90)
            # The leader dies in the middle of it: the API pods are still being replaced.
            leader = _leader()
            kubectl("delete", "pod", leader.split("/")[0].split("_")[0], "--grace-period=0", "--force", namespace=SPACE).must()
            assert _run()["status"]["state"] == "Running", _run()["status"]
            wait_for("the run to hold", lambda: _run()["status"]["state"] == "Holding", 120)
            assert _leader() not in ("", leader)
        run = _run()
        assert [next(iter(step)) for step in run["spec"]["steps"]] == STEPS
        assert f"{len(STEPS)} of {len(STEPS)} steps verified" in run["status"]["summary"], run["status"]
        # In this order: the log of what happened, which nobody can change.
        inorder = asked_of(SPACE, IN_ORDER).split()
        assert inorder == [str(place) for place in range(1, len(STEPS) + 1)], inorder

        # The API is what it was before, and what is held is seen by kubectl and served by both pods.
        assert _image() == first, (_image(), first)
        assert len(_pods("api")) == 2 and read("deployment", "api", SPACE)["status"]["readyReplicas"] == 2
        listed = kubectl("get", "flags", namespace=SPACE).must()
        assert {line.split()[0] for line in listed.splitlines() if " Held " in line} == HELD, listed
        assert "Frozen" in kubectl("get", "cohort", "pavia", namespace=SPACE).must()
        assert "1 freezeInvites" in kubectl("get", "rollbacks", namespace=SPACE).must()
        assert _served("ada@example.com", token) == ["off", "off"]

        # Applying the held flag changes nothing of what is served, and a code of a frozen cohort lets nobody in.
        flag = next(one for one in own if one["metadata"]["name"] == "ml-recommendations")
        apply([flag | {"spec": flag["spec"] | {"targeting": {"if": [True, "on", "on"]}}}], namespace=SPACE).must()
        generation = read("flag", "ml-recommendations", SPACE)["metadata"]["generation"]
        wait_for("the change to be seen", lambda: read("flag", "ml-recommendations", SPACE)["status"].get("observedGeneration") == generation)
        assert read("flag", "ml-recommendations", SPACE)["status"]["state"] == "Held"
        assert _served("ada@example.com", token) == ["off", "off"]

        # The cause is a ConfigMap, which outlived the leader that wrote it, and people complete it where they are.
        causes = json.loads(kubectl("get", "configmaps", "-l", "betagate.dev/files=causes", "-o", "json", namespace=SPACE).must())["items"]
        assert len(causes) == 1 and "# Cause of closed-beta-1" in next(iter(causes[0]["data"].values())), causes
