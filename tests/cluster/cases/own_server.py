"""An etcd and an API server of a case's own, on loopback, that it may stop, fill and start again; and controllers beside them.

Must not know: what any case is about.
"""

import atexit
import base64
import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from harness import ROOT, Said, apply, definitions, kubectl, namespace, wait_for

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from control import ControlPlane, Processes  # noqa: E402

PROGRAM = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/betagate"
# A small program with a cohort, a flag and a rollout that opens at once, and a plan that pulls the flag back on a Sev-1.
SMALL = """
apiVersion: betagate.dev/v1alpha1
kind: Program
metadata: { name: small }
spec: { timeZone: UTC, startsOn: 2026-03-02, people: { founder: { git: [ana@example.com] } } }
---
apiVersion: betagate.dev/v1alpha1
kind: Cohort
metadata: { name: pavia }
spec: { program: small, members: { inline: [ { email: ada@example.com } ] } }
---
apiVersion: betagate.dev/v1alpha1
kind: Flag
metadata: { name: new-feed }
spec: { program: small, type: boolean, variants: { "on": true, "off": false }, defaultVariant: "on", safeVariant: "off" }
---
apiVersion: betagate.dev/v1alpha1
kind: Rollout
metadata: { name: all }
spec: { program: small, stages: [ { name: first, cohorts: [pavia] } ] }
---
apiVersion: betagate.dev/v1alpha1
kind: RollbackPlan
metadata: { name: back }
spec:
  program: small
  when: [ { incident: { severity: sev-1, activeFor: 30m } } ]
  steps: [ { freezeInvites: { cohorts: all } }, { disableFlags: { keys: [new-feed] } } ]
"""


def _free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """An API server with an etcd that takes 24 MiB."""

    ETCD = ("--quota-backend-bytes=25165824",)

    def __init__(self, folder):
        binaries = Path(shutil.which("kube-apiserver")).parent
        self.processes = Processes(binaries, folder)
        self.plane = ControlPlane(self.processes, folder, "127.0.0.1", (_free_port(), _free_port(), _free_port()))
        self.plane.make_certificates()
        self.start()
        self.kubeconfig = str(self.plane.kubeconfig("admin", "admin"))

    def start(self):
        self.plane.start_alone(etcd=self.ETCD)

    def stop(self):
        self.plane.stop_api_server()

    def etcd(self, path, **body):
        """etcd's own interface, as JSON."""
        url = f"http://127.0.0.1:{self.plane.client_port}/v3/{path}"
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode()), timeout=30) as answer:
            return json.load(answer)


@functools.cache
def _server():
    """One for all cases: each leaves it as it was."""
    folder = tempfile.TemporaryDirectory(prefix="betagate-own.")
    server = Server(Path(folder.name))
    atexit.register(folder.cleanup)
    atexit.register(server.processes.kill)
    return server


@contextlib.contextmanager
def own_server():
    """What kubectl reaches meanwhile."""
    before, server = os.environ["KUBECONFIG"], _server()
    try:
        os.environ["KUBECONFIG"] = server.kubeconfig
        definitions()
        yield server
    finally:
        os.environ["KUBECONFIG"] = before


class Controller:
    """One controller of a namespace, by the name of its host."""

    def __init__(self, name, space, folder):
        self.log = folder / f"{name}.log"
        env = {key: value for key, value in os.environ.items() if not key.startswith("BETAGATE_")}
        env |= {"HOSTNAME": name, "BETAGATE_DATA": str(folder / "data"), "RUST_LOG": "info"}
        words = [PROGRAM, "controller", "--cluster", "--namespace", space, "--database", f"sqlite:{folder / 'beta.db'}"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *map(str, words)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)

    def runs(self):
        return self.process.poll() is None

    def says(self):
        return self.log.read_text(errors="replace")

    def asked_to_end(self):
        """As Kubernetes asks a pod."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def end(self):
        self.process.kill()
        self.process.wait()


class Beta:
    """The small program in a namespace, and what its database says."""

    def __init__(self, space, folder):
        self.space, self.folder, self.controllers = space, folder, []

    def controller(self, name):
        self.controllers.append(Controller(name, self.space, self.folder))
        return self.controllers[-1]

    def betagate(self, *words):
        env = {key: value for key, value in os.environ.items() if not key.startswith("BETAGATE_")}
        more = ["--database", f"sqlite:{self.folder / 'beta.db'}", "--data", self.folder / "data"]
        return Said(subprocess.run(list(map(str, [PROGRAM, *words, *more])), capture_output=True, text=True, timeout=60, env=env, stdin=subprocess.DEVNULL))

    def of_record(self, query):
        with contextlib.closing(sqlite3.connect(f"file:{self.folder / 'beta.db'}?mode=ro", uri=True, timeout=10)) as db:
            return db.execute(query).fetchall()

    def frozen(self):
        return [cohort for (cohort,) in self.of_record("SELECT cohort FROM freezes")]

    def served(self, flag):
        [(body,)] = self.of_record("SELECT body FROM flag_snapshots ORDER BY revision DESC LIMIT 1")
        found = json.loads(body)["flags"][flag]
        return found.get("hold", {}).get("variant", found["defaultVariant"])

    def read(self, what):
        return json.loads(kubectl("get", what, "-o", "json", "--request-timeout=5s", namespace=self.space).must())

    def state(self, what):
        return self.read(what).get("status", {}).get("state")

    def condition(self, what, kind):
        found = [one for one in self.read(what).get("status", {}).get("conditions", []) if one["type"] == kind]
        return (found[0]["status"], found[0]["reason"], found[0]["message"]) if found else None

    def lease(self):
        spec = self.read("lease/betagate-controller")["spec"]
        return spec["holderIdentity"].split("/")[0], spec["leaseTransitions"]

    def applied(self):
        """Until all of it is as it should be."""
        apply(SMALL, namespace=self.space).must()
        wait_for("the stage to open", lambda: self.state("cohort/pavia") == "Open")
        wait_for("the flag to be served", lambda: self.state("flag/new-feed") == "Served")

    def down(self):
        """An incident on which the plan pulls back."""
        self.betagate("incident", "open", "down", "--severity=sev-1", "--title=Down", "--ago=1h", "--by=founder").must()

    def caught_up(self):
        """The statuses say what the database has."""
        wait_for("the run to say what it holds", lambda: self.read("rollback/back-1")["status"]["holds"] == ["1 freezeInvites", "2 disableFlags"], 120)
        wait_for("the flag to say that it is held", lambda: self.state("flag/new-feed") == "Held", 120)


@contextlib.contextmanager
def beta(name):
    with namespace(name) as space, tempfile.TemporaryDirectory(prefix="betagate-beta.") as folder:
        (Path(folder) / "data").mkdir()
        one = Beta(space, Path(folder))
        try:
            yield one
            for controller in one.controllers:
                assert "panicked" not in controller.says(), controller.says()[-4000:]
        except BaseException:
            for controller in one.controllers:
                print(f"--- {controller.log.name}\n{controller.says()[-4000:]}", flush=True)
            raise
        finally:
            for controller in one.controllers:
                controller.end()


@functools.cache
def filler():
    """Nearly a megabyte that does not get smaller."""
    return base64.b64encode(os.urandom(700_000)).decode()
