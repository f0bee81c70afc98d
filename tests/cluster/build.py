"""Kubernetes, etcd and Helm, built from the Go modules that go.mod beside this file pins.

Must not know: what is done with them.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
KUBERNETES = "v1.34.4"
HELM = "v4.0.5"
NAMES = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl", "helm"]


def wanted():
    """What the binaries depend on, as one word."""
    inputs = [HERE / name for name in ("go.mod", "go.sum", "build.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()[:16]


def binaries(cache):
    """The folder with the binaries; they are built when CACHE has none of these versions. BETAGATE_TEST_KUBERNETES names a folder that has them already."""
    given = os.environ.get("BETAGATE_TEST_KUBERNETES")
    if given:
        missing = [name for name in NAMES if not os.access(Path(given) / name, os.X_OK)]
        if missing:
            raise SystemExit(f"BETAGATE_TEST_KUBERNETES={given}: no {', '.join(missing)} there")
        return Path(given).resolve()
    folder = cache / wanted()
    if not folder.exists():
        build(cache, folder)
    return folder


def build(cache, folder):
    """One build of all of them: they share most of their packages. The caches of Go are folders of their own, and go when the binaries are there."""
    started = time.monotonic()
    print(f"Building Kubernetes {KUBERNETES}, etcd and Helm {HELM} from their Go modules (once; five minutes on two idle cores)", flush=True)
    caches, new = cache / "go", cache / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    env = os.environ | {"CGO_ENABLED": "0", "GOPATH": str(caches / "path"), "GOCACHE": str(caches / "build"), "GOFLAGS": "-mod=readonly -modcacherw"}
    major, minor = KUBERNETES.removeprefix("v").split(".")[:2]
    version = "k8s.io/component-base/version."
    names = f"-s -w -X {version}gitVersion={KUBERNETES} -X {version}gitMajor={major} -X {version}gitMinor={minor}"
    # Of all that go.mod lists as tools: one build, in which what they share is compiled once.
    subprocess.run(["go", "build", "-trimpath", "-ldflags", names, "-o", f"{new}/", "tool"], cwd=HERE, env=env, check=True, stdin=subprocess.DEVNULL)
    (new / "server").rename(new / "etcd")
    for old in cache.iterdir():
        if old not in (new, caches):
            shutil.rmtree(old, ignore_errors=True)
    new.rename(folder)
    if os.environ.get("BETAGATE_KEEP_GO_CACHE") != "1":
        shutil.rmtree(caches, ignore_errors=True)
    print(f"Built in {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    print(binaries(Path(sys.argv[1]).resolve()))
