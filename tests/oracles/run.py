"""Fetches flagd's own evaluators into a cache and compares ours with them: run.py PROGRAM CACHE [concat|cbor]…

BETAGATE_SOAK=N makes N cases for each, BETAGATE_SEED=S other ones than those of every run.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CASES, SEED = "2000", "1"


def run(words, folder):
    done = subprocess.run(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(f"`{' '.join(map(str, words[:3]))} …` failed:\n{done.stdout}")


def once(name, cache, build):
    """Calls `build` unless it was done before from the same files. The folder's own files are copied in any case."""
    digest = hashlib.sha256((HERE / name).joinpath("package.json" if name == "javascript" else "requirements.txt").read_bytes()).hexdigest()
    stamp = cache / f"{name}.stamp"
    if not (stamp.exists() and stamp.read_text() == digest):
        shutil.rmtree(cache / name, ignore_errors=True)
        shutil.copytree(HERE / name, cache / name)
        build(cache / name)
        stamp.write_text(digest)
    shutil.copytree(HERE / name, cache / name, dirs_exist_ok=True)
    return cache / name


def concat(cache):
    folder = once("javascript", cache, lambda folder: run(["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"], folder))
    return ["node", folder / "oracle.mjs"]


def cbor(cache):
    def build(folder):
        run(["python3", "-m", "venv", folder / "venv"], folder)
        run([folder / "venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", folder / "requirements.txt"], folder)

    folder = once("python", cache, build)
    return [folder / "venv/bin/python", folder / "oracle.py"]


def main():
    program, cache, *wanted = sys.argv[1:]
    cache = Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    oracles = {"concat": concat, "cbor": cbor}
    cases, seed = os.environ.get("BETAGATE_SOAK") or CASES, os.environ.get("BETAGATE_SEED") or SEED
    failed = [name for name in wanted or oracles if subprocess.run([program, name, cases, seed, *oracles[name](cache)]).returncode]
    sys.exit(1 if failed else 0)


main()
