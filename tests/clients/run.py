#!/usr/bin/env python3
"""Runs the real OFREP clients against a real server; `tests/run clients` calls it.

    run.py BINARY CACHE [CLIENT…]      clients: http python javascript javascript-web go java rust

Each client asks every case of cases.json and says what it was told; what it should have been told stands in the table, and where a
client is known to be wrong, so does that. Everything that goes over the wire is recorded, and every answer is checked against the
shapes in ofrep-responses.schema.json.

A client that cannot be had here (no toolchain, no registry) is named and left out; with CI=true that is a failure.
"""

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import prepare

HERE = Path(__file__).resolve().parent
IN_CI = os.environ.get("CI") == "true"


class Report:
    """What passed and what failed."""

    def __init__(self):
        self.passed, self.failed = 0, 0

    def say(self, who, what, wrong, open_fault=None):
        """`wrong` is none, or why it failed. An open fault of the server must fail, or be struck out."""
        if open_fault is None and wrong is None:
            self.passed += 1
            return True
        if open_fault is not None and wrong is not None:
            self.passed += 1
            return True
        self.failed += 1
        print(f"FAILED {who}: {what}: {wrong or f'passes now; strike it from open: {open_fault}'}", flush=True)
        return False

    def end(self, table=None):
        for name, fault in (table or {"open": {}})["open"].items():
            print(f"OPEN fault of the server: {fault['why']} ({name})")
        print(f"test result: {'FAILED' if self.failed else 'ok'}. {self.passed} passed; {self.failed} failed")
        raise SystemExit(1 if self.failed else 0)


def expected(case, bugs):
    """What a client should say, and by which of its known bugs it says something else."""
    error = case.get("error")
    wanted = {"value": case.get("value", case["default"]), "error": error}
    if not error:
        wanted |= {"variant": case["variant"], "reason": case["reason"]}
    facts = {"status": case.get("status", 200), "error": error, "no_value": "value" not in case and not error, "name": case["name"]}
    by = []
    for bug in bugs:
        if all(facts[fact] == where for fact, where in bug["where"].items()):
            wanted |= bug["gives"]
            if wanted["error"]:
                wanted = {"value": case["default"], "error": wanted["error"]}
            by.append(bug["bug"])
    return wanted, by


def same(told, wanted):
    """Equal as JSON, where 1 and 1.0 are one number and true is none."""
    if isinstance(told, dict) and isinstance(wanted, dict):
        return told.keys() == wanted.keys() and all(same(told[key], wanted[key]) for key in wanted)
    if isinstance(told, list) and isinstance(wanted, list):
        return len(told) == len(wanted) and all(map(same, told, wanted))
    return isinstance(told, bool) == isinstance(wanted, bool) and (told == wanted or (not told and wanted is None))


def compare(case, told, bugs):
    wanted, _ = expected(case, bugs)
    different = {field: told.get(field) for field in wanted if not same(told.get(field), wanted[field])}
    if wanted.get("variant") == "" and not told.get("variant"):
        different.pop("variant", None)
    return f"wanted {wanted}, told {told}" if different else None


def run_client(name, words, recorder, table, server, report):
    """One client through the whole table."""
    ask_all(name, words, recorder, HERE / "cases.json", table["cases"], table, server, report, os.environ)


def run_access(name, words, base, table, server, report, scratch):
    """One client with a token that may read flags, one that may not, and none, against a server that asks for them."""
    for entry in table["access"]:
        file = scratch / "access.json"
        file.write_text(json.dumps({"cases": entry["cases"]}))
        env = {name: value for name, value in os.environ.items() if name != "BETAGATE_TOKEN"}
        if entry["token"]:
            env["BETAGATE_TOKEN"] = server.token(entry["token"])
        ask_all(name, words, base, file, entry["cases"], table, server, report, env)


def ask_all(name, words, recorder, file, cases, table, server, report, env):
    words = [*map(str, words), recorder.base, str(file)]
    process = subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    errors = ThreadPoolExecutor(1).submit(process.stderr.read)
    told, bugs = {}, table["clients"][name]["bugs"]
    for line in process.stdout:
        said = json.loads(line)
        if said.get("please") == "change":
            server.change()
        elif "check" in said:
            report.say(name, said["check"], None if said["ok"] else said["message"])
        else:
            told[said["name"]] = said
    ended = process.wait()
    report.say(name, "runs to its end", None if ended == 0 else f"exit code {ended}: {errors.result()[-800:]}")
    for case in cases:
        wrong = compare(case, told[case["name"]], bugs) if case["name"] in told else "not told"
        report.say(name, case["name"], wrong, open_fault(table, case["name"], name))


def open_fault(table, what, client):
    """Why something is known to fail for now."""
    entry = table["open"].get(what)
    return entry["why"] if entry and client in entry["seen_by"] else None


def run_http(port, server_port, table, report):
    import plain_http

    http = plain_http.Http(port, server_port)
    for group in plain_http.ALL:
        for what, wrong in group(http, table):
            if isinstance(what, dict):
                case = next(case for case in table["cases"] if case["name"] == what["name"])
                what, wrong = what["name"], wrong or compare(case, what, [])
            report.say("http", what, wrong, open_fault(table, what, "http"))


def check_wire(recorders, table, report):
    """Every answer that was seen, against the protocol."""
    from jsonschema import Draft202012Validator

    schema = json.loads((HERE / "ofrep-responses.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    shapes = {name: Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": schema["$defs"]}) for name in schema["$defs"]}
    import wire

    seen, excused = 0, set()
    for recorder in recorders:
        exchanges = recorder.exchanges()
        # The web provider asks for all flags at once, but for each context anew.
        report.say("protocol", f"{recorder.client} was heard", None if len(exchanges) >= (4 if recorder.client.endswith("tokens") else 11) else f"{len(exchanges)} answers")
        if recorder.client.endswith("tokens"):
            statuses = {exchange.status for exchange in exchanges}
            report.say("protocol", f"{recorder.client}: let in, not let in, not known", None if statuses == {200, 401, 403} else f"{statuses}")
        for exchange in exchanges:
            seen += 1
            short = exchange.path.removeprefix("/ofrep/v1/evaluate/flags")
            faults = [(f"{short}: {fault}", fault) for fault in wire.faults_of(exchange, shapes.get)]
            excused |= {name for name, _ in faults if name in table["open"]}
            faults = [fault for name, fault in faults if name not in table["open"]]
            report.say("protocol", exchange, "; ".join(faults) or None)
    if any(recorder.client == "http" for recorder in recorders):
        for fault in table["open"]:
            if table["open"][fault]["seen_by"] == ["protocol"]:
                report.say("protocol", fault, "seen" if fault in excused else None, table["open"][fault]["why"])
    print(f"protocol: {seen} answers checked against their shapes")


def prepared(cache, makers, report):
    """The commands of the clients that can be had."""
    cache.mkdir(parents=True, exist_ok=True)
    commands = {}

    def one(maker):
        try:
            return maker(cache), None
        except prepare.Missing as why:
            return {}, why

    with ThreadPoolExecutor(2) as pool:
        for maker, (found, why) in zip(makers, pool.map(one, makers), strict=True):
            commands |= found
            if why:
                print(f"SKIPPED {maker.__name__}: {why}", flush=True)
                if IN_CI:
                    report.say(maker.__name__, "can be had", str(why))
    return commands


def main(binary, cache, wanted):
    table = json.loads((HERE / "cases.json").read_text())
    known = ["http", *table["clients"]]
    if unknown := set(wanted) - set(known):
        print(f"no such client: {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
        raise SystemExit(64)
    wanted = wanted or known
    report = Report()
    if Path(sys.prefix) != cache / "python":
        # The rest runs with the packages that come with the Python client.
        if "python" not in prepared(cache, [prepare.python], report):
            report.end()
        validator = cache / "python/bin/python"
        os.execv(validator, [str(validator), __file__, str(binary), str(cache), *wanted])
    makers = [maker for maker in prepare.ALL if maker.__name__ in {name.split("-")[0] for name in wanted}]
    commands = prepared(cache, makers, report)
    from server import Server
    from wire import Recorder

    with tempfile.TemporaryDirectory(prefix="betagate-clients.") as scratch:
        server = Server(binary, Path(scratch))
        recorders = []
        try:
            for name in wanted:
                if name != "http" and name not in commands:
                    continue
                before = report.passed, report.failed
                recorders.append(Recorder(name, server.port))
                if name == "http":
                    run_http(int(recorders[-1].base.rsplit(":", 1)[1]), server.port, table, report)
                else:
                    run_client(name, commands[name], recorders[-1], table, server, report)
                print(f"{name}: {report.passed - before[0]} passed, {report.failed - before[1]} failed", flush=True)
                for bug in table["clients"].get(name, {}).get("bugs", []):
                    print(f"    known of this client: {bug['bug']}")
            guarded = server.guarded_port()
            # The web provider's core is the JavaScript one's.
            for name in [name for name in wanted if name in commands and name != "javascript-web"]:
                recorders.append(Recorder(f"{name} with tokens", guarded))
                run_access(name, commands[name], recorders[-1], table, server, report, Path(scratch))
            check_wire(recorders, table, report)
        finally:
            server.stop()
    report.end(table)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), sys.argv[3:])
