#!/usr/bin/env python3
"""Cases against a cluster, beside which cluster.py runs this: run.py [WORD]…

Each module of this folder named *_cases.py has functions whose names are sentences; a WORD picks those whose name contains it. Those that take `pods` need a node,
those that take `flux` need Flux (`tests/run flux`); without, they are named as left out. Modules with OWN_SERVER do nothing to the cluster: they run in a process beside the others, and take no time of
theirs; what they said comes last. Ends with cargo's line (one each), by which tests/run counts.
"""

import contextlib
import importlib
import inspect
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.dont_write_bytecode = True

import harness  # noqa: E402


BESIDE = "--beside"


def cases(words):
    """Those that are wanted, in the order of their modules and lines: name, case, whether it has a server of its own."""
    found = []
    for path in Path(__file__).parent.glob("*_cases.py"):
        module = importlib.import_module(path.stem)
        for name, case in inspect.getmembers(module, inspect.isfunction):
            if case.__module__ == path.stem and not name.startswith("_"):
                found.append((f"{path.stem.removesuffix('_cases')}::{name}", case, getattr(module, "OWN_SERVER", False)))
    wanted = [one for one in found if not words or any(word in one[0] for word in words)]
    return sorted(wanted, key=lambda one: (one[0].split("::")[0], one[1].__code__.co_firstlineno))


def tried(chosen):
    """Runs cases one after the other; whether none failed."""
    passed, failed, left_out = 0, [], 0
    for name, case, _ in chosen:
        wants = inspect.signature(case).parameters.keys()
        missing = [one for one in wants if one not in harness.has()]
        if missing:
            print(f"test {name} ... left out: no {' and no '.join(missing)} here", flush=True)
            left_out += 1
            continue
        started = time.monotonic()
        try:
            case(**dict.fromkeys(wants, True))
            passed += 1
            print(f"test {name} ... ok ({time.monotonic() - started:.1f} s)", flush=True)
        except Exception:
            failed.append(name)
            print(f"test {name} ... FAILED\n{traceback.format_exc()}", flush=True)
    print(f"\ntest result: {'FAILED' if failed else 'ok'}. {passed} passed; {len(failed)} failed; {left_out} ignored; 0 measured; 0 filtered out", flush=True)
    return not failed


@contextlib.contextmanager
def beside(words):
    """Those with a server of their own, meanwhile, in a process of their own; gives a function that waits for them, and says whether none failed."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", sys.executable, __file__, BESIDE, *words], stdin=subprocess.DEVNULL, stdout=said, stderr=said)

        def ended():
            status = process.wait()
            said.seek(0)
            print(said.read(), end="", flush=True)
            return status == 0

        try:
            yield ended
        finally:
            process.kill()
            process.wait()


def main(words):
    is_beside = words[:1] == [BESIDE]
    words = words[1:] if is_beside else words
    chosen = cases(words)
    own, of_cluster = ([one for one in chosen if one[2] is has] for has in (True, False))
    if is_beside or not own or not of_cluster:
        return tried(own if is_beside else chosen)
    with beside(words) as ended:
        return all([tried(of_cluster), ended()])


raise SystemExit(0 if main(sys.argv[1:]) else 1)
