"""What the cases share: kubectl, helm, namespaces of their own, waiting.

Must not know: what any case is about.
"""

import contextlib
import json
import os
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts/betagate"
IMAGE = ["--set=image.repository=betagate.test/betagate", "--set=image.pullPolicy=Never"]


class Said:
    """What a command said."""

    def __init__(self, done):
        self.status, self.out, self.text = done.returncode, done.stdout, done.stdout + done.stderr

    @property
    def done(self):
        return self.status == 0

    def must(self):
        assert self.done, self.text
        return self.out

    def refused(self, words):
        assert not self.done, f"was not refused: {self.text}"
        assert words in self.text, f"refused, but not by '{words}': {self.text}"


def run(*words, stdin=""):
    return Said(subprocess.run(list(map(str, words)), input=stdin, capture_output=True, text=True, timeout=300))


def kubectl(*words, namespace=None, user=None, groups=(), stdin=""):
    more = [f"--namespace={namespace}"] if namespace else []
    more += [f"--as={user}", *(f"--as-group={group}" for group in ("system:authenticated", *groups))] if user else []
    return run("kubectl", *more, *words, stdin=stdin)


def helm(*words, stdin=""):
    # Without a server to ask, a helm that was built from its module takes Kubernetes for a very old one.
    more = ["--kube-version=1.34.4"] if words[0] == "template" else []
    return run("helm", *words, *more, stdin=stdin)


def documents_of(text, *files):
    """Manifests as values. kubectl reads them, and asks no server."""
    given = [word for file in files for word in ("-f", file)] or ["-f", "-"]
    listed = run("kubectl", "annotate", "--local", "read=yes", "-o", "json", *given, stdin=text).must()
    found, decoder = [], json.JSONDecoder()
    while listed := listed.lstrip():
        one, end = decoder.raw_decode(listed)
        listed = listed[end:]
        found += one.get("items", [one])
    return found


def apply(documents, server_side=False, **how):
    return kubectl("apply", *(["--server-side"] if server_side else []), "-f", "-", stdin=documents if isinstance(documents, str) else "\n---\n".join(json.dumps(one) for one in documents), **how)


def resource(kind, name, **spec):
    return {"apiVersion": "betagate.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def read(kind, name, namespace):
    return json.loads(kubectl("get", kind, name, "-o", "json", namespace=namespace).must())


def wait_for(what, there, seconds=60):
    """What `there` gives once it gives something. The last reason why not is told."""
    until, reason = time.monotonic() + seconds, None
    while time.monotonic() < until:
        try:
            found = there()
            if found:
                return found
            reason = found
        except (AssertionError, KeyError, json.JSONDecodeError, OSError) as error:
            reason = error
        time.sleep(0.2)
    raise AssertionError(f"waited {seconds} s for {what}: {reason}")


@contextlib.contextmanager
def namespace(name, **labels):
    """A namespace that is gone afterwards, whatever is in it."""
    apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}]).must()
    try:
        yield name
    finally:
        kubectl("delete", "namespace", name, "--wait=false")
        # Nobody is left to take its finalizer off cohorts whose invites exist, and the namespace would stay.
        for cohort in kubectl("get", "cohorts", "-o", "name", namespace=name).out.split():
            kubectl("patch", cohort, "--type=merge", "-p", '{"metadata":{"finalizers":null}}', namespace=name)


def _psql(database, *words):
    psql = next(path / "psql" for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True) if (path / "psql").exists())
    return [psql, "-q", "-X", "-v", "ON_ERROR_STOP=1", os.environ["BETAGATE_TEST_POSTGRES"].rsplit("/", 1)[0] + f"/{database}", *words, "-c"]


def asked_of(database, query):
    """What a database answers, as text."""
    return run(*_psql(database, "-A", "-t"), query).must().strip()


@contextlib.contextmanager
def database(name):
    """An empty PostgreSQL database, and the address by which pods reach it."""
    own = _psql("postgres")
    run(*own, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)').must()
    run(*own, f'CREATE DATABASE "{name}"').must()
    try:
        yield os.environ["BETAGATE_TEST_POSTGRES_FROM_PODS"].rsplit("/", 1)[0] + f"/{name}"
    finally:
        run(*own, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@contextlib.contextmanager
def scraped(space, port):
    """Prometheus scrapes the pods of a namespace that are annotated for it and this port, as they are now."""
    pods = json.loads(kubectl("get", "pods", "-o", "json", namespace=space).must())["items"]
    asks = lambda said: said.get("prometheus.io/scrape") == "true" and said.get("prometheus.io/port", str(port)) == str(port)  # noqa: E731
    pods = [pod for pod in pods if asks(pod["metadata"].get("annotations", {})) and pod["status"].get("podIP") and not pod["metadata"].get("deletionTimestamp")]
    targets = [{"targets": [f"{pod['status']['podIP']}:{port}"], "labels": {"namespace": space, "pod": pod["metadata"]["name"]}} for pod in pods]
    file = Path(os.environ["BETAGATE_TEST_PROMETHEUS_TARGETS"]) / f"{space}.json"
    file.write_text(json.dumps(targets))
    try:
        yield len(targets)
    finally:
        file.unlink()


@contextlib.contextmanager
def installed(name, *words):
    """The chart in a namespace of its own that enforces the restricted profile."""
    with namespace(name, **{"pod-security.kubernetes.io/enforce": "restricted"}) as space, database(name) as url:
        apply([{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "beta-database"}, "stringData": {"url": url}}], namespace=space).must()
        helm("install", "betagate", CHART, f"--namespace={space}", *IMAGE, "--set=image.tag=dev", "--set=database.existingSecret=beta-database",
             "--take-ownership", "--wait", "--timeout=180s", *words).must()
        try:
            yield space
        except BaseException:
            # Gone with the namespace otherwise.
            print(kubectl("logs", "-l", "app.kubernetes.io/component=controller", "--tail=40", "--prefix", namespace=space).text, flush=True)
            print(kubectl("get", "betagate,pods", "-o", "wide", namespace=space).text, flush=True)
            raise
        finally:
            helm("uninstall", "betagate", f"--namespace={space}", "--ignore-not-found")


def definitions():
    """The custom resource definitions of the repository, served."""
    kubectl("apply", "--server-side", "--force-conflicts", "-f", ROOT / "crds").must()
    for file in (ROOT / "crds").iterdir():
        plural = f"{file.stem}.betagate.dev"
        wait_for(f"{plural} to be served", lambda: kubectl("wait", "--for=condition=established", "--timeout=30s", f"crd/{plural}").done)


def has():
    """What is there beside an API server."""
    return {what for what, named in {"pods": "BETAGATE_TEST_NODE", "flux": "BETAGATE_TEST_FLUX"}.items() if named in os.environ}
