#!/usr/bin/env python3
"""A real Kubernetes for tests: cluster.py CACHE [--program BINARY]… -- COMMAND…

Runs the command beside a cluster of its own: etcd, API server, controller manager, scheduler, containerd, kubelet, kube-proxy, PostgreSQL, Prometheus, and one
Ready node for pods. Kubernetes and Helm are built from their Go modules (go.mod beside this file) the first time, and kept in CACHE; the rest comes from
Debian's packages. --program makes an image betagate.test/NAME:dev (and :next, the same) of a binary, and there is one of a shell (betagate.test/dash:dev); there is no registry, so pods say `imagePullPolicy: Never`
or `IfNotPresent`.

All of it lives in network, process and mount namespaces of its own: nothing reaches beyond them, several can run side by side, and whatever way this ends (also
by SIGKILL) takes all of it along. It needs root, or sudo. Where a machine allows no namespaces the reason is said, and the command gets an API server alone, on
loopback; --check only says which of both it would be: exit 0, or 1 and the reason. --alone asks for an API server alone.

The command sees
  KUBECONFIG                          who may do everything; context `nobody` may do nothing
  BETAGATE_TEST_CLUSTER               the API server's address
  BETAGATE_TEST_NODE                  the node's address, which pods reach too; not set beside an API server alone
  BETAGATE_TEST_POSTGRES              from here; BETAGATE_TEST_POSTGRES_FROM_PODS from pods
  BETAGATE_TEST_PROMETHEUS            scrapes every second what files in BETAGATE_TEST_PROMETHEUS_TARGETS name, pods too
  BETAGATE_TEST_IMAGES                the folder of the images, BINARY.tar
  BETAGATE_TEST_KUBELET               the kubelet's folder, in which the volumes of pods lie
  BETAGATE_TEST_KUBELET_PID           the kubelet's process, which a test may pause as if its machine were lost
  BETAGATE_TEST_AUDIT                 with --alone: the API server's audit log; the contexts `betagate`, `argo-rollouts` and `flagger` may do everything
                                      too, and are told apart there
and kubectl, helm and the other programs on its PATH.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True  # The work tree stays as it is.

import build  # noqa: E402
import image
from control import SERVICES, ControlPlane, Processes, quietly
from node import CGROUPS, PAUSE, Node, own_view
from services import start_postgres, start_prometheus

ADDRESS = "172.30.0.1"
NEEDED = ["containerd", "dash", "ctr", "runc", "iptables", "conntrack", "socat", "ipset", "ethtool", "nft", "ip", "unshare", "setpriv", "openssl", "curl", "cc", "strip"]
SPACES = ["unshare", "--net", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]
ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]
ENVIRONMENT = ("BETAGATE_", "CARGO", "RUST", "CI", "HOME", "PATH", "LANG", "TMPDIR")


def reason_against_pods():
    """Why this machine can't run pods, or nothing."""
    missing = [name for name in NEEDED if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if not Path("/usr/lib/cni/bridge").exists():
        return "not installed: containernetworking-plugins"
    tried = "mount -t tmpfs tmpfs /mnt && mkdir /mnt/a /mnt/b /mnt/c && mount -t overlay -o lowerdir=/mnt/a,upperdir=/mnt/b,workdir=/mnt/c overlay /mnt/a && ip link set lo up && nft list tables"
    said = subprocess.run([*ROOT, *SPACES, "sh", "-ec", tried], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if said.returncode != 0:
        return f"no namespaces, mounts or packet rules of its own: {said.stderr.strip() or said.stdout.strip()}"
    handed_on = CGROUPS / "cgroup.subtree_control"
    if handed_on.exists() and not {"cpu", "cpuset", "memory", "pids"} <= set(handed_on.read_text().split()):
        return f"the control groups here hand on only these to others: {handed_on.read_text().strip() or 'none'}"
    probe = f"d=$(ls -d {CGROUPS}/memory {CGROUPS} 2>/dev/null | head -n 1)/betagate-{os.getpid()}-probe && mkdir $d && rmdir $d"
    said = subprocess.run([*ROOT, "sh", "-ec", probe], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return f"no control groups of its own: {said.stderr.strip()}" if said.returncode else None


# ---- what is left when it ended --------------------------------------------------------------------------------------------------------------

def remove_cgroups(name):
    """The control groups of pods, once nothing runs in them."""
    for hierarchy in [CGROUPS, *(path for path in CGROUPS.iterdir() if path.is_dir() and not path.is_symlink())]:
        for folder, _, _ in os.walk(hierarchy / name, topdown=False):
            for _ in range(50):
                try:
                    os.rmdir(folder)
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.1)


def clean_up(scratch, cgroup):
    remove_cgroups(cgroup)
    shutil.rmtree(scratch, ignore_errors=True)


def guard(scratch, cgroup):
    """A process that outlives this one, however it ends, and puts the machine in order. The end of what is written is when it begins."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(reader)
        return child, writer
    os.close(writer)
    os.setsid()
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silent, stream)
    os.read(reader, 1)
    clean_up(scratch, cgroup)
    os._exit(0)


def sweep():
    """What a run left that was killed together with its guard."""
    for folder in Path(tempfile.gettempdir()).glob("betagate-cluster.*.*"):
        owner = folder.name.split(".")[1]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            clean_up(folder, f"betagate-{owner}")


# ---- a whole cluster ----------------------------------------------------------------------------------------------------------------------------

def run_whole(binaries, given):
    """From outside: makes the namespaces, waits, puts the machine in order."""
    sweep()
    cgroup = f"betagate-{os.getpid()}"
    scratch = Path(tempfile.mkdtemp(prefix=f"betagate-cluster.{os.getpid()}."))
    scratch.chmod(0o755)
    cleaner, alive = guard(scratch, cgroup)
    started = []

    def end(number, _):
        for process in started:
            process.kill()
        raise SystemExit(128 + number)

    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, end)
    try:
        inside = [sys.executable, str(Path(__file__).resolve()), "--inside", str(scratch), cgroup, str(binaries), *words_of(given)]
        # The first process of the namespace reaps what its others leave behind.
        init = ["bash", "-c", 'exec 3<&0; "$@" <&3 & exec 3<&-; wait "$!"', "init", *inside]
        started.append(subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *SPACES, *init]))
        return started[0].wait()
    finally:
        os.close(alive)
        os.waitpid(cleaner, 0)


def run_inside(scratch, cgroup, binaries, given):
    """In the namespaces: the cluster, and the command beside it."""
    started = time.monotonic()
    folder = Path("/var/lib/betagate-tests")
    own_view(folder)
    os.environ["PATH"] = f"{binaries}:{os.environ['PATH']}:/usr/sbin:/sbin"
    # Those of the machine can't be reached from here.
    for name in ("BETAGATE_TEST_POSTGRES", "BETAGATE_TEST_PROMETHEUS", "BETAGATE_TEST_PROMETHEUS_TARGETS"):
        os.environ.pop(name, None)
    quietly(["ip", "link", "set", "lo", "up"])
    quietly(["ip", "addr", "add", f"{ADDRESS}/32", "dev", "lo"])
    # What goes to a Service needs a way before kube-proxy's rules send it another.
    quietly(["ip", "route", "add", SERVICES, "dev", "lo", "src", ADDRESS])
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    processes = Processes(binaries, scratch)
    plane = ControlPlane(processes, folder, ADDRESS)
    plane.make_certificates()
    node = Node(processes, plane, folder, cgroup)
    images = make_images(folder / "images", given.program)
    node.start_runtime(images)
    plane.start_whole()
    node.start()
    env = start_postgres(processes, folder, ADDRESS)
    kubeconfig = plane.kubeconfig("admin", "admin", "nobody")
    env |= start_prometheus(processes, folder, ADDRESS, prometheus())
    node.wait_ready(["kubectl", f"--kubeconfig={kubeconfig}"])
    print(f"A node is ready after {time.monotonic() - started:.0f} s", flush=True)
    env |= {"KUBECONFIG": kubeconfig, "BETAGATE_TEST_CLUSTER": plane.server, "BETAGATE_TEST_NODE": ADDRESS, "BETAGATE_TEST_IMAGES": folder / "images", "BETAGATE_TEST_KUBELET": folder / "kubelet",
            "BETAGATE_TEST_KUBELET_PID": processes.running["kubelet"].pid}
    return run_command(given, env)


def make_images(folder, programs):
    folder.mkdir()
    image.pause_image(folder / "pause.tar", PAUSE)
    # A shell and nothing else, for commands.
    for program in [*programs, shutil.which("dash")]:
        name = Path(program).name
        image.program_image(program, folder / f"{name}.tar", [f"betagate.test/{name}:{tag}" for tag in ("dev", "next")])
    return sorted(folder.iterdir())


def prometheus():
    """The program, where tests/run has it."""
    return shutil.which("prometheus") or next((path for path in [os.environ.get("BETAGATE_TEST_PROMETHEUS_PROGRAM")] if path), None)


# ---- an API server alone --------------------------------------------------------------------------------------------------------------------------

def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def run_alone(binaries, given):
    for one in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, lambda number, _: sys.exit(128 + number))
    os.environ["PATH"] = f"{binaries}:{os.environ['PATH']}"
    with tempfile.TemporaryDirectory(prefix="betagate-server.") as scratch:
        scratch = Path(scratch)
        processes = Processes(binaries, scratch)
        try:
            plane = ControlPlane(processes, scratch, "127.0.0.1", (free_port(), free_port(), free_port()))
            plane.make_certificates()
            plane.start_alone(scratch / "audit.log" if given.alone else None)
            env = {"KUBECONFIG": plane.kubeconfig("admin", "admin", "nobody", "betagate", "argo-rollouts", "flagger"), "BETAGATE_TEST_CLUSTER": plane.server}
            return run_command(given, env | ({"BETAGATE_TEST_AUDIT": scratch / "audit.log"} if given.alone else {}))
        finally:
            processes.kill()


# ---- both -------------------------------------------------------------------------------------------------------------------------------------------

def run_command(given, env):
    who = ["setpriv", "--reuid", given.user.split(":")[0], "--regid", given.user.split(":")[1], "--init-groups"] if given.user else []
    if given.user:
        shutil.chown(env["KUBECONFIG"], int(given.user.split(":")[0]))
    return subprocess.run([*who, *given.command], env=os.environ | {name: str(value) for name, value in env.items()}).returncode


def words_of(given):
    programs = [word for program in given.program for word in ("--program", program)]
    return [*programs, *(["--user", given.user] if given.user else []), str(given.cache), "--", *given.command]


def parsed(words):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache")
    parser.add_argument("--program", action="append", default=[])
    parser.add_argument("--user", help=argparse.SUPPRESS)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--alone", action="store_true")
    own, command = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    given = parser.parse_args(own)
    given.command = command
    given.program = [str(Path(program).resolve()) for program in given.program]
    return given


def main():
    if sys.argv[1:2] == ["--inside"]:
        scratch, cgroup, binaries = map(Path, sys.argv[2:5])
        return run_inside(scratch, str(cgroup), binaries, parsed(sys.argv[5:]))
    given = parsed(sys.argv[1:])
    reason = "none were asked for" if given.alone else reason_against_pods()
    if given.check:
        print(reason or "pods can run here")
        return 1 if reason else 0
    cache = Path(given.cache).resolve()
    cache.mkdir(parents=True, exist_ok=True)
    binaries = build.binaries(cache)
    if reason:
        print(f"No pods on this machine, an API server alone: {reason}", flush=True)
        return run_alone(binaries, given)
    if ROOT:
        kept = [f"{name}={value}" for name, value in os.environ.items() if name.startswith(ENVIRONMENT)]
        given.user = f"{os.getuid()}:{os.getgid()}"
        os.execvp("sudo", ["sudo", "-n", "env", *kept, f"BETAGATE_TEST_KUBERNETES={binaries}", sys.executable, __file__, *words_of(given)])
    return run_whole(binaries, given)


raise SystemExit(main())
