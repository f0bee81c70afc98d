"""A node: containerd, kubelet, kube-proxy, and the network of its pods.

Works only inside the namespaces that cluster.py makes: mounts, links, routes and processes die with them. What it leaves in the machine is its control
groups, which cluster.py removes.

Must not know: what runs in the pods.
"""

import json
import shutil
import subprocess
from pathlib import Path

from control import PODS, answers, quietly

CGROUPS = Path("/sys/fs/cgroup")
PAUSE = "betagate.test/pause:1"
# What a kubelet wants of the kernel, and would set for the whole machine.
KERNEL = {"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1", "kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000"}

CONTAINERD = """version = 2
root = "{folder}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
"""

KUBELET = """apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
makeIPTablesUtilChains: false
resolvConf: ""
nodeStatusUpdateFrequency: 2s
syncFrequency: 10s
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
podLogsDir: {folder}/pod-logs
volumePluginDir: {folder}/volume-plugins
authentication: {{ anonymous: {{ enabled: false }}, webhook: {{ enabled: true }}, x509: {{ clientCAFile: {folder}/ca.crt }} }}
authorization: {{ mode: Webhook }}
tlsCertFile: {folder}/serving.crt
tlsPrivateKeyFile: {folder}/serving.key
evictionHard: {{ memory.available: 50Mi, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%, imagefs.inodesFree: 0% }}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
featureGates: {{ KubeletCrashLoopBackOffMax: true }}
crashLoopBackOff: {{ maxContainerRestartPeriod: 2s }}
"""

PROXY = """apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: {pods}
hostnameOverride: node1
clientConnection: {{ kubeconfig: {kubeconfig} }}
conntrack: {{ maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s }}
"""


def own_view(folder):
    """Private folders where a node's programs have fixed places, and the kernel's settings as a kubelet wants to find them."""
    for path in ("/run", "/var/lib", "/var/log"):
        quietly(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", path])
    folder.mkdir(parents=True)
    for name, value in KERNEL.items():
        stand_in = folder / name.replace("/", "-")
        stand_in.write_text(value + "\n")
        quietly(["mount", "--bind", stand_in, f"/proc/sys/{name}"])


def make_cgroups(name):
    """A control group of that name in every hierarchy, in which the kubelet keeps those of its pods."""
    if (CGROUPS / "cgroup.controllers").exists():
        (CGROUPS / name).mkdir()
        for controller in (CGROUPS / "cgroup.subtree_control").read_text().split():
            (CGROUPS / name / "cgroup.subtree_control").write_text(f"+{controller}")
        return
    for hierarchy in CGROUPS.iterdir():
        if hierarchy.is_symlink() or not (hierarchy / "cgroup.procs").exists():
            continue
        group = hierarchy / name
        group.mkdir()
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (group / file).exists():
                (group / file).write_text((hierarchy / file).read_text())


class Node:
    """One node, at the cluster's address."""

    def __init__(self, processes, plane, folder, cgroup):
        self.processes, self.plane, self.folder, self.cgroup = processes, plane, folder, cgroup

    def start_runtime(self, images):
        """containerd, and the images that pods may use: there is no registry."""
        network = {"cniVersion": "0.4.0", "name": "pods", "plugins": [
            {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True,
             "ipam": {"type": "host-local", "dataDir": str(self.folder / "addresses"), "ranges": [[{"subnet": PODS}]], "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": True}}]}
        (self.folder / "cni").mkdir()
        (self.folder / "cni/10-pods.conflist").write_text(json.dumps(network))
        config = self.folder / "containerd.toml"
        config.write_text(CONTAINERD.format(folder=self.folder, pause=PAUSE))
        self.processes.start("containerd", "--config", config, program=shutil.which("containerd"))
        self.processes.wait_for("containerd", lambda: self.ctr("version") == 0)
        for image in images:
            if self.ctr("images", "import", image) != 0:
                raise SystemExit(f"containerd does not take {image}:\n{(self.processes.logs / 'ctr.log').read_text()[-2000:]}")

    def ctr(self, *words):
        line = ["ctr", "-a", "/run/containerd/containerd.sock", "-n", "k8s.io", *map(str, words)]
        with open(self.processes.logs / "ctr.log", "ab") as log:
            return subprocess.run(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log).returncode

    def start(self):
        make_cgroups(self.cgroup)
        kubelet, proxy = self.folder / "kubelet.yaml", self.folder / "proxy.yaml"
        kubelet.write_text(KUBELET.format(folder=self.folder, cgroup=self.cgroup))
        self.processes.start("kubelet", f"--config={kubelet}", f"--kubeconfig={self.plane.kubeconfig('node', 'system:node:node1')}", f"--root-dir={self.folder}/kubelet",
                             f"--node-ip={self.plane.address}", "--hostname-override=node1")
        proxy.write_text(PROXY.format(pods=PODS, kubeconfig=self.plane.kubeconfig("proxy", "system:kube-proxy")))
        self.processes.start("kube-proxy", f"--config={proxy}")

    def wait_ready(self, kubectl):
        kubelet = self.processes.running["kubelet"]
        ready = [*kubectl, "get", "node", "node1", "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}"]
        account = [*kubectl, "get", "serviceaccount", "default", "-n", "default"]

        def there():
            said = subprocess.run(ready, capture_output=True, text=True, stdin=subprocess.DEVNULL)
            return said.stdout == "True" and subprocess.run(account, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0

        assert kubelet
        self.processes.wait_for("kubelet", there)
        self.processes.wait_for("kube-proxy", lambda: answers("http://127.0.0.1:10256/livez"))
