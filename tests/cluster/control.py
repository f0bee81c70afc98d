"""The control plane: etcd, API server, controller manager, scheduler; certificates, users, kubeconfig.

Must not know: nodes, pods, what tests do.
"""

import subprocess
import time
from pathlib import Path

USERS = """admin-token,admin,1,system:masters
nobody-token,nobody,2,nobody
node-token,system:node:node1,3,system:nodes
manager-token,system:kube-controller-manager,4,
scheduler-token,system:kube-scheduler,5,
proxy-token,system:kube-proxy,6,
betagate-token,betagate,7,system:masters
argo-rollouts-token,argo-rollouts,8,system:masters
flagger-token,flagger,9,system:masters
"""
SERVICES, FIRST_SERVICE = "10.96.0.0/16", "10.96.0.1"
PODS = "10.244.0.0/24"
# Who asked for what, once it is answered.
AUDIT = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [ { level: Metadata } ]\n"


def quietly(words, **more):
    subprocess.run(list(map(str, words)), check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)


def answers(url):
    words = ["curl", "-fsSk", "-m", "2", "--noproxy", "*", url]
    return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


class Processes:
    """What was started, each with a log of its own. They die with who started them."""

    def __init__(self, binaries, logs):
        self.binaries, self.logs, self.running = binaries, logs, {}

    def start(self, name, *words, program=None, **more):
        log = open(self.logs / f"{name}.log", "ab")
        line = ["setpriv", "--pdeathsig", "KILL", program or self.binaries / name, *words]
        self.running[name] = subprocess.Popen(list(map(str, line)), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **more)

    def wait_for(self, name, there, seconds=90):
        """Until it is there, as long as the process lives."""
        until = time.monotonic() + seconds
        while not there():
            if self.running[name].poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{name} did not start:\n{(self.logs / f'{name}.log').read_text(errors='replace')[-4000:]}")
            time.sleep(0.1)

    def kill(self):
        # Asked to end, the API server waits long for those who watch: it keeps nothing worth waiting for.
        for process in reversed(self.running.values()):
            process.kill()
            process.wait()


class ControlPlane:
    """An API server with its database at an address, and, for a whole cluster, the controllers and the scheduler."""

    def __init__(self, processes, folder, address, ports=(6443, 2379, 2380)):
        self.processes, self.folder, self.address = processes, folder, address
        self.port, self.client_port, self.peer_port = ports
        self.server = f"https://{address}:{self.port}"
        self.users = folder / "users.csv"
        self.users.write_text(USERS)
        self.users.chmod(0o600)

    def at(self, name):
        return self.folder / name

    def make_certificates(self):
        """An authority, a serving certificate for the API server and the kubelet, and the one by which the API server comes to a kubelet."""
        names = f"subjectAltName=IP:{self.address},IP:127.0.0.1,IP:{FIRST_SERVICE},DNS:localhost,DNS:node1,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc"
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        quietly(["openssl", "req", "-x509", *key, "-days", "30", "-subj", "/CN=betagate-tests", "-keyout", self.at("ca.key"), "-out", self.at("ca.crt"),
                 "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"])
        for name, subject, more in [("serving", "/CN=kubernetes", names), ("kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client", "extendedKeyUsage=clientAuth")]:
            quietly(["openssl", "req", *key, "-subj", subject, "-keyout", self.at(f"{name}.key"), "-out", self.at(f"{name}.csr")])
            self.at(f"{name}.ext").write_text(more + "\n")
            quietly(["openssl", "x509", "-req", "-in", self.at(f"{name}.csr"), "-CA", self.at("ca.crt"), "-CAkey", self.at("ca.key"), "-CAcreateserial", "-days", "30",
                     "-extfile", self.at(f"{name}.ext"), "-out", self.at(f"{name}.crt")])
        quietly(["openssl", "genrsa", "-out", self.at("accounts.key"), "2048"])

    def start_etcd(self, *more):
        peer, client = (f"http://127.0.0.1:{port}" for port in (self.peer_port, self.client_port))
        self.processes.start("etcd", f"--data-dir={self.at('etcd')}", "--unsafe-no-fsync", f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
                             f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}", "--log-level=warn", *more)
        self.processes.wait_for("etcd", lambda: answers(f"{client}/health"))

    def start_api_server(self, *more):
        self.processes.start(
            "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{self.client_port}", f"--bind-address={self.address}", f"--secure-port={self.port}",
            f"--tls-cert-file={self.at('serving.crt')}", f"--tls-private-key-file={self.at('serving.key')}", f"--token-auth-file={self.users}",
            "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-signing-key-file={self.at('accounts.key')}",
            f"--service-account-key-file={self.at('accounts.key')}", f"--service-cluster-ip-range={SERVICES}", *more)
        self.processes.wait_for("kube-apiserver", lambda: answers(f"{self.server}/readyz"))

    def stop_api_server(self):
        """At once, as when its machine is lost."""
        server = self.processes.running.pop("kube-apiserver")
        server.kill()
        server.wait()

    def start_alone(self, audit=None, etcd=()):
        """No node will come: nothing makes service accounts, and nothing reaches the server through a Service. It writes down who asks for what in `audit`. Started
        again after it was stopped, it finds what its etcd has."""
        if "etcd" not in self.processes.running:
            self.start_etcd(*etcd)
        policy = self.at("audit.yaml")
        policy.write_text(AUDIT)
        more = [f"--audit-policy-file={policy}", f"--audit-log-path={audit}"] if audit else []
        self.start_api_server(*more, "--advertise-address=192.0.2.1", "--authorization-mode=RBAC", "--endpoint-reconciler-type=none", "--disable-admission-plugins=ServiceAccount")

    def start_whole(self):
        self.start_etcd()
        self.start_api_server(
            f"--advertise-address={self.address}", "--authorization-mode=Node,RBAC", "--endpoint-reconciler-type=lease", "--allow-privileged=true",
            "--kubelet-preferred-address-types=InternalIP", f"--kubelet-certificate-authority={self.at('ca.crt')}",
            f"--kubelet-client-certificate={self.at('kubelet-client.crt')}", f"--kubelet-client-key={self.at('kubelet-client.key')}")
        self.processes.start(
            "kube-controller-manager", f"--kubeconfig={self.kubeconfig('manager', 'system:kube-controller-manager')}", "--leader-elect=false", "--bind-address=127.0.0.1",
            f"--root-ca-file={self.at('ca.crt')}", f"--service-account-private-key-file={self.at('accounts.key')}", "--use-service-account-credentials=true",
            f"--cluster-signing-cert-file={self.at('ca.crt')}", f"--cluster-signing-key-file={self.at('ca.key')}",
            "--node-monitor-period=1s", "--node-monitor-grace-period=20s")
        self.processes.start("kube-scheduler", f"--kubeconfig={self.kubeconfig('scheduler', 'system:kube-scheduler')}", "--leader-elect=false", "--bind-address=127.0.0.1")

    def kubeconfig(self, file, *names):
        """A file by which the first of some users, or any of them as a context, comes to the server."""
        tokens = {name: token for token, name, *_ in (line.split(",") for line in USERS.split())}
        lines = ["apiVersion: v1", "kind: Config", f"current-context: {names[0]}",
                 f"clusters: [ {{ name: tests, cluster: {{ server: '{self.server}', certificate-authority: '{self.at('ca.crt')}' }} }} ]", "users:"]
        lines += [f"- {{ name: '{name}', user: {{ token: {tokens[name]} }} }}" for name in names]
        lines += ["contexts:"] + [f"- {{ name: '{name}', context: {{ cluster: tests, user: '{name}' }} }}" for name in names]
        path = self.at(f"{file}.kubeconfig")
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o600)
        return path
