"""Flux's kustomize-controller, built from its Go module: flux.py CACHE prints the folder with its program and the definitions of Flux; `tests/run flux` calls it.

Built the first time (10 minutes beside other work), and kept in CACHE. Of source-controller only the definitions are taken: what it would serve, the case serves, as an
`ExternalArtifact`, which is Flux's way for sources that are not its own. v1.9.5 is the newest that the Go module proxy can build with Go 1.26.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True

CONTROLLER = ("github.com/fluxcd/kustomize-controller@v1.9.5", "h1:/XY2zy3K7fntyppEXIHG7oRMzmfgIt50eJzUfaPX1Kc=")
# A module of its own within the other, which looks for it beside itself.
API = ("github.com/fluxcd/kustomize-controller/api@v1.9.5", "h1:Z4CA0cpC9rQmWiJWT9PCNO7+v3PVbAOK+5byHdbtFt8=")
SOURCES = ("github.com/fluxcd/source-controller@v1.9.6", "h1:nG534/bI6nVpyHra7ONAk6xDB3xPsVT+EOLHZHXPrrc=")
DEFINITIONS = "config/crd/bases"


def fetched(module, env):
    """The folder of a module in Go's cache."""
    name, wanted = module
    done = subprocess.run(["go", "mod", "download", "-json", name], env=env, cwd="/", capture_output=True, text=True, stdin=subprocess.DEVNULL)
    found = json.loads(done.stdout or "{}")
    if found.get("Sum") != wanted:
        raise SystemExit(f"{name} is not the one that was meant, or not to be had: {found.get('Error') or found.get('Sum') or done.stderr}")
    return Path(found["Dir"])


def build(cache):
    home = cache / f"flux-{CONTROLLER[0].rsplit('@')[-1]}"
    if home.exists():
        return home
    print("building Flux's kustomize-controller from its module, once", file=sys.stderr, flush=True)
    started, caches, new = time.monotonic(), cache / "flux-go", cache / "flux.new"
    for folder in (caches, new):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    env = os.environ | {"CGO_ENABLED": "0", "GOPATH": str(caches / "path"), "GOCACHE": str(caches / "build")}
    env["GOFLAGS"] = f"{os.environ.get('GOFLAGS', '')} -mod=readonly -modcacherw".strip()
    # A copy: its own replacements count only there.
    source = caches / "source"
    shutil.copytree(fetched(CONTROLLER, env), source)
    shutil.copytree(fetched(API, env), source / "api")
    subprocess.run(["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", new / "kustomize-controller", "."], env=env, cwd=source, check=True, stdin=subprocess.DEVNULL)
    (new / "definitions").mkdir()
    for folder in (source, fetched(SOURCES, env)):
        for file in sorted((folder / DEFINITIONS).glob("*.yaml")):
            shutil.copy(file, new / "definitions")
    new.rename(home)
    shutil.rmtree(caches, ignore_errors=True)
    print(f"built in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return home


if __name__ == "__main__":
    print(build(Path(sys.argv[1]).resolve()))
