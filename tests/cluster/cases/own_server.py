"""An etcd and an API server of a case's own, on loopback, that it may stop, fill and start again; and controllers beside them.

Must not know: what any case is about.
"""

import atexit
import base64
import contextlib
import functools
import json
import os
import secrets
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
SMALL = "---\n".join((ROOT / "tests/cluster" / file).read_text() for file in ("small.yaml", "plan.yaml"))


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """An API server with an etcd that takes 24 MiB."""

    ETCD = ("--quota-backend-bytes=25165824",)

    def __init__(self, folder):
        binaries = Path(shutil.which("kube-apiserver")).parent
        self.processes = Processes(binaries, folder)
        self.plane = ControlPlane(self.processes, folder, "127.0.0.1", (free_port(), free_port(), free_port()))
        self.plane.make_certificates()
        self.start()
        self.kubeconfig = str(self.plane.kubeconfig("admin", "admin"))

    def start(self):
        self.plane.start_alone(etcd=self.ETCD)

    def stop(self):
        self.plane.stop_api_server()

    def freeze(self):
        """It takes what comes and answers nothing, until it is stopped: as when its machine is gone and nobody says so."""
        self.processes.running["kube-apiserver"].send_signal(signal.SIGSTOP)

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


class Process:
    """One process of betagate's, with its name as its host."""

    def __init__(self, name, folder, *words):
        self.log = folder / f"{name}.log"
        env = {key: value for key, value in os.environ.items() if not key.startswith("BETAGATE_")}
        env |= {"HOSTNAME": name, "BETAGATE_DATA": str(folder / "data"), "RUST_LOG": "info"}
        line = ["setpriv", "--pdeathsig", "KILL", PROGRAM, *words, "--database", f"sqlite:{folder / 'beta.db'}"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(list(map(str, line)), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)

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
        self.space, self.folder, self.processes = space, folder, []

    def started(self, name, *words):
        self.processes.append(Process(name, self.folder, *words))
        return self.processes[-1]

    def controller(self, name, *more):
        return self.started(name, "controller", "--cluster", "--namespace", self.space, *more)

    def api(self):
        """An API process; gives what its OFREP serves somebody of a flag."""
        token, port, file = secrets.token_hex(32), free_port(), self.folder / "admin.token"
        file.touch(mode=0o600)
        file.write_text(token)
        self.started("api", "api", f"--listen=127.0.0.1:{port}", f"--admin-token-file={file}")

        def serves(flag):
            asked = urllib.request.Request(f"http://127.0.0.1:{port}/ofrep/v1/evaluate/flags/{flag}", b'{"context":{"targetingKey":"ada@example.com"}}',
                                           {"content-type": "application/json", "authorization": f"Bearer {token}"})
            with urllib.request.urlopen(asked, timeout=5) as answer:
                return json.load(answer)["variant"]

        return serves

    def betagate(self, *words):
        env = {key: value for key, value in os.environ.items() if not key.startswith("BETAGATE_")}
        more = ["--database", f"sqlite:{self.folder / 'beta.db'}", "--data", self.folder / "data"]
        return Said(subprocess.run(list(map(str, [PROGRAM, *words, *more])), capture_output=True, text=True, timeout=60, env=env, stdin=subprocess.DEVNULL))

    def of_record(self, query):
        with contextlib.closing(sqlite3.connect(f"file:{self.folder / 'beta.db'}?mode=ro", uri=True, timeout=10)) as db:
            return db.execute(query).fetchall()

    def mails(self, address):
        """How many messages to somebody were written: none leaves."""
        return sum(f"To: {address}" in mail.read_text() for mail in (self.folder / "data/mail").glob("*.eml"))

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

    def summary(self, what):
        return self.read(what).get("status", {}).get("summary", "")

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

    def caught_up(self, holds=("1 freezeInvites", "2 disableFlags")):
        """The statuses say what the database has."""
        wait_for("the run to say what it holds", lambda: self.read("rollback/back-1")["status"]["holds"] == list(holds), 120)
        wait_for("the flag to say that it is held", lambda: self.state("flag/new-feed") == "Held", 120)


@contextlib.contextmanager
def beta(name):
    with namespace(name) as space, tempfile.TemporaryDirectory(prefix="betagate-beta.") as folder:
        (Path(folder) / "data").mkdir()
        if not kubectl("get", "crd", "programs.betagate.dev").done:
            definitions()
        one = Beta(space, Path(folder))
        try:
            yield one
            for process in one.processes:
                assert "panicked" not in process.says(), process.says()[-4000:]
        except BaseException:
            for process in one.processes:
                print(f"--- {process.log.name}\n{process.says()[-4000:]}", flush=True)
            raise
        finally:
            for process in one.processes:
                process.end()


@functools.cache
def filler():
    """Nearly a megabyte that does not get smaller."""
    return base64.b64encode(os.urandom(700_000)).decode()
