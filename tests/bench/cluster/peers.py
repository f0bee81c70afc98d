#!/usr/bin/env python3
"""Other controllers that follow resources of their own, for the benchmark beside betagate: peers.py CACHE prints the folder with their programs and definitions.

Built from their Go modules the first time, and kept in CACHE. Must not know: what is measured.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True

# The newest that the Go of Kubernetes' own build takes: package and definitions within the module.
PEERS = {
    "argo-rollouts": ("github.com/argoproj/argo-rollouts@v1.9.0", "./cmd/rollouts-controller", "manifests/crds"),
    "flagger": ("github.com/fluxcd/flagger@v1.36.1", "./cmd/flagger", "artifacts/flagger/crd.yaml"),
}


def build(cache):
    """Each within a copy of its module, so that its own replacements count. Go's caches are folders of their own, and go afterwards."""
    folder, caches = cache / "peers", cache / "peers-go"
    folder.mkdir(parents=True, exist_ok=True)
    env = os.environ | {"CGO_ENABLED": "0", "GOPATH": str(caches / "path"), "GOCACHE": str(caches / "build"), "GOFLAGS": "-mod=mod -modcacherw " + os.environ.get("GOFLAGS", "")}
    for name, (module, package, definitions) in PEERS.items():
        if (folder / name).exists():
            continue
        found = subprocess.run(["go", "mod", "download", "-json", module], env=env, cwd="/", check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        source = caches / name
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(next(line.split('"')[3] for line in found.stdout.splitlines() if '"Dir"' in line), source)
        subprocess.run(["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", folder / f"{name}.new", package], env=env, cwd=source, check=True, stdin=subprocess.DEVNULL)
        shutil.rmtree(folder / f"{name}-crds", ignore_errors=True)
        (folder / f"{name}-crds").mkdir()
        found = source / definitions
        for file in sorted(found.glob("*.yaml")) if found.is_dir() else [found]:
            if file.name != "kustomization.yaml":
                shutil.copy(file, folder / f"{name}-crds")
        (folder / f"{name}.new").rename(folder / name)
    shutil.rmtree(caches, ignore_errors=True)
    return folder


print(build(Path(sys.argv[1]).resolve()))
