#!/usr/bin/env python3
"""A real Kubernetes API server for tests: cluster.py CACHE -- COMMAND…

Builds etcd, the API server and kubectl from their Go modules (go.mod beside this file; once, a few minutes), starts them in a network namespace of their own,
runs the command inside it, and leaves nothing behind but the binaries in CACHE. Needs Go, openssl and iproute2, and root or sudo for the namespace.

The command sees KUBECONFIG (who may do everything), BETAGATE_TEST_CLUSTER (the API server's address) and kubectl on its PATH.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
KUBERNETES = "v1.34.4"
PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
}
ADDRESS = "172.30.0.1"
USERS = """admin-token,admin,1,system:masters
nobody-token,nobody,2,nobody
"""
SUDO = [] if os.geteuid() == 0 else ["sudo", "-n"]


def build(cache):
    """The folder with the binaries."""
    wanted = hashlib.sha256((HERE / "go.mod").read_bytes() + (HERE / "go.sum").read_bytes()).hexdigest()
    binaries, stamp = cache / "bin", cache / "built"
    if stamp.exists() and stamp.read_text() == wanted:
        return binaries
    print(f"Building Kubernetes {KUBERNETES}: {', '.join(PACKAGES)} (once, some minutes)", flush=True)
    caches = cache / "go"
    env = os.environ | {"CGO_ENABLED": "0", "GOPATH": str(caches / "path"), "GOCACHE": str(caches / "build"), "GOFLAGS": "-mod=readonly -modcacherw"}
    major, minor = KUBERNETES.removeprefix("v").split(".")[:2]
    version = "k8s.io/component-base/version."
    names = f"-s -w -X {version}gitVersion={KUBERNETES} -X {version}gitMajor={major} -X {version}gitMinor={minor}"
    for name, package in PACKAGES.items():
        words = ["go", "build", "-trimpath", "-ldflags", names, "-o", str(binaries / name), package]
        subprocess.run(words, cwd=HERE, env=env, check=True, stdin=subprocess.DEVNULL)
    shutil.rmtree(caches, ignore_errors=True)
    stamp.write_text(wanted)
    return binaries


class Cluster:
    """An API server with its database, in a namespace."""

    def __init__(self, binaries, scratch):
        self.binaries, self.scratch = binaries, scratch
        self.namespace = f"betagate-{os.getpid()}"
        self.server = f"https://{ADDRESS}:6443"
        self.processes = []

    def __enter__(self):
        self.ip("netns", "add", self.namespace)
        self.ip("-n", self.namespace, "link", "set", "lo", "up")
        self.ip("-n", self.namespace, "addr", "add", f"{ADDRESS}/32", "dev", "lo")
        self.start_etcd()
        self.start_api_server()
        self.write_kubeconfig()
        return self

    def __exit__(self, *_):
        # Asked to end, the API server waits long for those who watch: it keeps nothing worth waiting for.
        for process in reversed(self.processes):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.ip("netns", "del", self.namespace)

    def ip(self, *words):
        subprocess.run([*SUDO, "ip", *words], check=True, stdin=subprocess.DEVNULL)

    def inside(self, words, env):
        """A command line that runs words in the namespace, as who runs this."""
        who = [] if not SUDO else ["setpriv", "--reuid", str(os.getuid()), "--regid", str(os.getgid()), "--init-groups"]
        return [*SUDO, "nsenter", f"--net=/run/netns/{self.namespace}", *who, "env", *(f"{name}={value}" for name, value in env.items()), *map(str, words)]

    def start(self, name, *flags):
        log = open(self.scratch / f"{name}.log", "wb")
        words = ["setpriv", "--pdeathsig", "KILL", self.binaries / name, *flags]
        process = subprocess.Popen(self.inside(words, {}), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self.processes.append(process)

    def wait_for(self, name, words, seconds=60):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if subprocess.run(self.inside(words, {}), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
                return
            if self.processes[-1].poll() is not None:
                break
            time.sleep(0.2)
        raise SystemExit(f"{name} did not start:\n{(self.scratch / f'{name}.log').read_text()[-4000:]}")

    def start_etcd(self):
        peer, client = "http://127.0.0.1:2380", "http://127.0.0.1:2379"
        self.start("etcd", f"--data-dir={self.scratch / 'etcd'}", "--unsafe-no-fsync", f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
                   f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}", "--log-level=warn")
        self.wait_for("etcd", ["curl", "-fsS", "-m", "2", f"{client}/health"])

    def start_api_server(self):
        keys, users = self.scratch / "accounts.key", self.scratch / "users.csv"
        subprocess.run(["openssl", "genrsa", "-out", keys, "2048"], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        users.write_text(USERS)
        # It makes a certificate of its own, by which the kubeconfig knows it.
        self.start("kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", f"--bind-address={ADDRESS}", f"--advertise-address={ADDRESS}", f"--cert-dir={self.scratch / 'certificates'}",
                   f"--token-auth-file={users}", "--authorization-mode=RBAC", "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-signing-key-file={keys}",
                   f"--service-account-key-file={keys}", "--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none", "--disable-admission-plugins=ServiceAccount")
        self.wait_for("kube-apiserver", ["curl", "-fsSk", "-m", "2", f"{self.server}/readyz"])

    def write_kubeconfig(self):
        authority = self.scratch / "certificates/apiserver.crt"
        users = {name: token for token, name, *_ in (line.split(",") for line in USERS.split())}
        lines = ["apiVersion: v1", "kind: Config", "current-context: admin", f"clusters: [ {{ name: tests, cluster: {{ server: '{self.server}', certificate-authority: '{authority}' }} }} ]"]
        lines += ["users:"] + [f"- {{ name: {name}, user: {{ token: {token} }} }}" for name, token in users.items()]
        lines += ["contexts:"] + [f"- {{ name: {name}, context: {{ cluster: tests, user: {name} }} }}" for name in users]
        self.kubeconfig = self.scratch / "kubeconfig"
        self.kubeconfig.write_text("\n".join(lines) + "\n")
        self.kubeconfig.chmod(0o600)

    def run(self, words):
        kept = {name: os.environ[name] for name in os.environ if name.startswith(("BETAGATE_", "CARGO", "RUST", "CI", "HOME"))}
        env = kept | {"KUBECONFIG": self.kubeconfig, "BETAGATE_TEST_CLUSTER": self.server, "PATH": f"{self.binaries}:{os.environ['PATH']}"}
        return subprocess.run(self.inside(words, env)).returncode


def main():
    cache, dash, *words = sys.argv[1:]
    assert dash == "--" and words, __doc__
    cache = Path(cache).resolve()
    cache.mkdir(parents=True, exist_ok=True)
    binaries = build(cache)
    # What ends this run ends the cluster with it.
    for one in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="betagate-cluster.") as scratch, Cluster(binaries, Path(scratch)) as cluster:
        status = cluster.run(words)
    raise SystemExit(status)


main()
