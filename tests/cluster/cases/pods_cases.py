"""The node and the image: betagate's own program as a pod under the restricted profile, with a database outside, scraped, replaced, and gone."""

import json
import os
import urllib.parse
import urllib.request

from harness import apply, database, kubectl, namespace, read, scraped, wait_for

PORT = 8081
KEYS = ["invite.key", "pseudonym.key", "credential.key", "token.key"]
CONTAINER = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
MOUNTS = [{"name": "data", "mountPath": "/data"}, {"name": "keys", "mountPath": "/data/keys", "readOnly": True}]


def _api(image):
    """Two API processes behind a Service, whose database is brought up to date first."""
    env = [{"name": "BETAGATE_DATA", "value": "/data"}, *({"name": name, "valueFrom": {"secretKeyRef": {"name": "beta", "key": "url"}}} for name in ("BETAGATE_DATABASE", "DATABASE_URL"))]
    own = {"image": image, "imagePullPolicy": "Never", "securityContext": CONTAINER, "env": env, "volumeMounts": MOUNTS}
    labels = {"app": "api"}
    pod = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": [own | {"name": "migrate", "args": ["migrate"]}],
        "containers": [own | {"name": "api", "args": ["api", f"--listen=0.0.0.0:{PORT}"], "ports": [{"containerPort": PORT}],
                              "readinessProbe": {"httpGet": {"path": "/readyz", "port": PORT}, "periodSeconds": 1}}],
        "volumes": [{"name": "data", "emptyDir": {}}, {"name": "keys", "secret": {"secretName": "beta", "items": [{"key": key, "path": key} for key in KEYS]}}],
    }
    annotations = {"prometheus.io/scrape": "true"}
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "api"}, "spec": {
            "replicas": 2, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod}}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "api"}, "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": PORT}]}},
    ]


def _get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def _asked(query):
    found = json.loads(_get(f"{os.environ['BETAGATE_TEST_PROMETHEUS']}/api/v1/query?{urllib.parse.urlencode({'query': query})}"))
    return found["data"]["result"]


def the_image_runs_under_the_restricted_profile_is_served_scraped_and_replaced(pods):
    with namespace("image", **{"pod-security.kubernetes.io/enforce": "restricted"}) as space, database("image") as url:
        secret = {key: "ab" * 32 for key in KEYS} | {"url": url}
        apply([{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "beta"}, "stringData": secret}, *_api("betagate.test/betagate:dev")], namespace=space).must()
        kubectl("rollout", "status", "deployment/api", "--timeout=120s", namespace=space).must()
        address = read("service", "api", space)["spec"]["clusterIP"]
        wait_for("the Service to answer", lambda: _get(f"http://{address}/readyz"))
        with scraped(space, PORT) as pods:
            assert pods == 2
            wait_for("both pods to be scraped", lambda: len(_asked('betagate_flag_revision{namespace="image"}')) == 2)
        kubectl("set", "image", "deployment/api", "api=betagate.test/betagate:next", namespace=space).must()
        kubectl("rollout", "status", "deployment/api", "--timeout=120s", namespace=space).must()
        # A moment may pass until the last node knows that the old pods are gone.
        wait_for("the new pods to answer", lambda: _get(f"http://{address}/healthz"))
        assert "restarted" not in kubectl("logs", "deployment/api", namespace=space).must()


def an_image_that_is_not_there_leaves_the_old_pods(pods):
    with namespace("missing") as space:
        pause = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "pause"}, "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "pause"}},
            "template": {"metadata": {"labels": {"app": "pause"}}, "spec": {"containers": [{"name": "pause", "image": "betagate.test/pause:1", "imagePullPolicy": "Never"}]}}}}
        apply([pause], namespace=space).must()
        kubectl("rollout", "status", "deployment/pause", "--timeout=60s", namespace=space).must()
        kubectl("set", "image", "deployment/pause", "pause=betagate.test/nowhere:1", namespace=space).must()
        waiting = ["get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[*].state.waiting.reason}"]
        wait_for("the new pod to miss its image", lambda: "ErrImageNeverPull" in kubectl(*waiting, namespace=space).must())
        assert read("deployment", "pause", space)["status"]["availableReplicas"] == 2
