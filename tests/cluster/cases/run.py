#!/usr/bin/env python3
"""Cases against a cluster, beside which cluster.py runs this: run.py [WORD]…

Each module of this folder named *_cases.py has functions whose names are sentences; a WORD picks those whose name contains it. Those that take `pods` need a node,
and are named as left out beside an API server alone. Ends with cargo's line, by which tests/run counts.
"""

import importlib
import inspect
import sys
import time
import traceback
from pathlib import Path

sys.dont_write_bytecode = True

import harness  # noqa: E402


def cases():
    for path in sorted(Path(__file__).parent.glob("*_cases.py")):
        module = importlib.import_module(path.stem)
        for name, case in inspect.getmembers(module, inspect.isfunction):
            if case.__module__ == path.stem and not name.startswith("_"):
                yield f"{path.stem.removesuffix('_cases')}::{name}", case


def main(words):
    passed, failed, left_out = 0, [], 0
    for name, case in sorted(cases(), key=lambda one: (one[0].split("::")[0], one[1].__code__.co_firstlineno)):
        if words and not any(word in name for word in words):
            continue
        wants_pods = "pods" in inspect.signature(case).parameters
        if wants_pods and not harness.has_pods():
            print(f"test {name} ... left out: no pods here", flush=True)
            left_out += 1
            continue
        started = time.monotonic()
        try:
            case(True) if wants_pods else case()
            passed += 1
            print(f"test {name} ... ok ({time.monotonic() - started:.1f} s)", flush=True)
        except Exception:
            failed.append(name)
            print(f"test {name} ... FAILED\n{traceback.format_exc()}", flush=True)
    print(f"\ntest result: {'FAILED' if failed else 'ok'}. {passed} passed; {len(failed)} failed; {left_out} ignored; 0 measured; 0 filtered out", flush=True)
    return 1 if failed else 0


raise SystemExit(main(sys.argv[1:]))
