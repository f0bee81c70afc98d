"""Fetches and builds the clients under target/clients, once for each version of what they are made from."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Missing(Exception):
    """Why a client is not there."""


def run(words, folder, **env):
    """Runs a command; what it said is shown only when it fails."""
    done = subprocess.run(words, cwd=folder, env=os.environ | env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise Missing(f"`{' '.join(map(str, words[:3]))} …` failed: {' | '.join(done.stdout.strip().splitlines()[-4:])}")


def needs(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Missing(f"{program} is not installed")


def once(name, cache, build):
    """Calls `build` unless it was done before from the same files."""
    digest = hashlib.sha256()
    for file in sorted(path for path in (HERE / name).rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(HERE)}\0".encode() + file.read_bytes())
    stamp = cache / f"{name}.stamp"
    if not (stamp.exists() and stamp.read_text() == digest.hexdigest()):
        stamp.unlink(missing_ok=True)
        build()
        stamp.write_text(digest.hexdigest())


def python(cache):
    folder = cache / "python"

    def build():
        shutil.rmtree(folder, ignore_errors=True)
        run(["python3", "-m", "venv", folder], HERE)
        run([folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", HERE / "python/requirements.txt"], HERE)

    once("python", cache, build)
    return {"python": [folder / "bin/python", HERE / "python/client.py"]}


def javascript(cache):
    needs("node", "npm")
    folder = cache / "javascript"

    def build():
        shutil.copytree(HERE / "javascript", folder, dirs_exist_ok=True)
        run(["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"], folder, npm_config_cache=str(cache / "npm"))

    once("javascript", cache, build)
    return {"javascript": ["node", folder / "client.mjs"], "javascript-web": ["node", folder / "web.mjs"]}


def go(cache):
    needs("go")
    program = cache / "go-client"
    build = lambda: run(  # noqa: E731
        ["go", "build", "-mod=readonly", "-o", program, "."],
        HERE / "go",
        GOPATH=str(cache / "gopath"),
        GOCACHE=str(cache / "gocache"),
        GOFLAGS="-modcacherw -buildvcs=false",
    )
    once("go", cache, build)
    return {"go": [program]}


def java(cache):
    needs("mvn", "javac", "java")
    folder = cache / "java"

    def build():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        fetch = ["mvn", "-q", "-B", f"-Dmaven.repo.local={cache / 'maven'}", "dependency:copy-dependencies", f"-DoutputDirectory={folder / 'lib'}"]
        run(fetch, HERE / "java")
        run(["javac", "-cp", f"{folder / 'lib'}/*", "-d", folder / "classes", "Client.java"], HERE / "java")

    once("java", cache, build)
    return {"java": ["java", "-cp", f"{folder / 'classes'}:{folder / 'lib'}/*", "Client"]}


def rust(cache):
    needs("cargo")
    target = cache / "rust"
    once("rust", cache, lambda: run(["cargo", "build", "--locked", "--quiet"], HERE / "rust", CARGO_TARGET_DIR=str(target)))
    return {"rust": [target / "debug/betagate-ofrep-client"]}


ALL = (python, javascript, go, java, rust)
