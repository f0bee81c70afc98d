#!/usr/bin/env python3
"""Holds what `betagate report` says to GitHub's published description of its API (the npm package @octokit/openapi); `tests/run forge` calls it.

    github.py BINARY CACHE

Each request must be one that the description knows: its path, its query, its body field by field. The answers are the description's own examples. It
does not tell how GitHub itself behaves. Where the package can't be had (no npm, no registry) that is named and left out; with CI=true it is a
failure.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

ROOT = Path(__file__).resolve().parents[2]
PACKAGE, VERSION, FILE = "@octokit/openapi", "23.0.2", "package/generated/api.github.com.json"
# Gitea's name for the size of a page, sent beside GitHub's; GitHub looks at no parameter that it doesn't know.
GITEAS = {"limit"}
MARKER = "<!-- betagate: betagate/plan -->"
KINDS = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}


def description(cache):
    """The description of the API, fetched once; None when it can't be had."""
    folder = cache / f"octokit-openapi-{VERSION}"
    if not (folder / "api.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        if not shutil.which("npm"):
            return None
        packed = subprocess.run(["npm", "pack", "--silent", f"{PACKAGE}@{VERSION}"], cwd=folder, capture_output=True, text=True, timeout=600)
        if packed.returncode:
            return None
        archive = folder / packed.stdout.split()[-1]
        with tarfile.open(archive) as files:
            text = files.extractfile(FILE).read()
        archive.unlink()
        # Whole or not at all.
        (folder / "part").write_bytes(text)
        (folder / "part").rename(folder / "api.json")
    return json.loads((folder / "api.json").read_text())


class GitHub:
    """Answers as the description says, remembers comments, and notes every request that the description does not know."""

    def __init__(self, api):
        self.api, self.heard, self.wrong, self.comments, self.login = api, [], [], [], None
        self.paths = [(re.compile("^" + re.sub(r"\{[^}]+\}", "[^/]+", path) + "$"), path) for path in api["paths"]]
        github = self

        class Handler(BaseHTTPRequestHandler):
            def any(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                status, answer = github.answer(self.command, self.path, body, self.headers)
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json; charset=utf-8")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = any

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def resolved(self, node):
        while "$ref" in node:
            target = self.api
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node

    def operation(self, method, path):
        # The longest template is the one without a variable in this place.
        known = [template for pattern, template in self.paths if pattern.match(path) and method.lower() in self.api["paths"][template]]
        return max(known, key=lambda template: -template.count("{"), default=None)

    def answer(self, method, target, body, headers):
        split = urlsplit(target)
        template = self.operation(method, split.path)
        self.heard.append((method, template))
        if template is None:
            self.wrong.append(f"{method} {split.path}: the description knows no such operation")
            return 404, {"message": "Not Found"}
        operation = self.api["paths"][template][method.lower()]
        what = f"{method} {template}"
        self.check_headers(what, headers)
        self.check_query(what, operation, parse_qs(split.query))
        if body:
            schema = self.resolved(self.resolved(operation["requestBody"])["content"]["application/json"]["schema"])
            self.check_body(what, schema, json.loads(body))
        elif operation.get("requestBody", {}).get("required"):
            self.wrong.append(f"{what}: there is no body")
        return self.example(operation, template, method, json.loads(body) if body else None)

    def check_headers(self, what, headers):
        if not re.match(r"(Bearer|token) \S+$", headers.get("authorization", "")):
            self.wrong.append(f"{what}: no token")
        if not headers.get("user-agent"):
            self.wrong.append(f"{what}: GitHub refuses whoever does not say who they are (User-Agent)")
        if "application/vnd.github+json" not in headers.get("accept", ""):
            self.wrong.append(f"{what}: accepts {headers.get('accept')}")

    def check_query(self, what, operation, query):
        known = {one["name"]: one for one in map(self.resolved, operation["parameters"]) if one["in"] == "query"}
        for name, values in query.items():
            if name in GITEAS:
                continue
            if name not in known:
                self.wrong.append(f"{what}: the description has no parameter {name}")
            elif self.resolved(known[name]["schema"])["type"] == "integer" and not values[0].isdigit():
                self.wrong.append(f"{what}: {name} is {values[0]}")
        if "per_page" in query and int(query["per_page"][0]) > 100:
            self.wrong.append(f"{what}: a page has at most 100")

    def check_body(self, what, schema, body):
        for name in set(schema.get("required", [])) - body.keys():
            self.wrong.append(f"{what}: {name} is missing")
        for name, value in body.items():
            field = self.resolved(schema.get("properties", {}).get(name, {}))
            if not field:
                self.wrong.append(f"{what}: the description has no field {name}")
            elif value is None and field.get("nullable"):
                continue
            elif not isinstance(value, KINDS[field["type"]]):
                self.wrong.append(f"{what}: {name} is {value!r}")
            elif "enum" in field and value not in field["enum"]:
                self.wrong.append(f"{what}: {name} is {value!r}, and not one of {field['enum']}")

    def example(self, operation, template, method, body):
        status, response = next((int(code), self.resolved(one)) for code, one in operation["responses"].items() if code.startswith("2"))
        examples = response["content"]["application/json"]["examples"]
        value = json.loads(json.dumps(self.resolved(next(iter(examples.values())))["value"]))
        if template == "/user":
            self.login = value["login"]
        elif template.endswith("/issues/{issue_number}/comments") and method == "GET":
            value = value + self.comments
        elif template.endswith("/issues/{issue_number}/comments"):
            value |= {"id": 4_000_000_001, "body": body["body"]}
            self.comments.append(value)
        elif method == "PATCH":
            self.comments[0]["body"] = body["body"]
        return status, value


def repository(folder):
    """A repository with one cohort, and a branch that adds somebody."""
    def git(*words):
        env = os.environ | {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
        who = ["-c", "user.name=Ana Moretti", "-c", "user.email=ana@example.com"]
        return subprocess.run(["git", *who, *words], cwd=folder, env=env, check=True, capture_output=True, text=True).stdout.strip()

    for room in ("manifests", "cohorts", "flags"):
        shutil.copytree(ROOT / room, folder / room)
    git("init", "--quiet", "--initial-branch=main")
    git("add", "--all")
    git("commit", "--quiet", "--message", "What is live")
    git("checkout", "--quiet", "-b", "more")
    with (folder / "cohorts/pavia.csv").open("a") as rows:
        rows.write("new.tester@example.com,listener-pavia,listener,ana@example.com,it,\n")
    git("commit", "--quiet", "--all", "--message", "One more")
    return git("rev-parse", "HEAD")


def report(binary, github, folder, sha):
    event = folder.parent / "event.json"
    event.write_text(json.dumps({"number": 7, "pull_request": {"number": 7, "head": {"sha": sha}}}))
    env = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "GITEA_", "BETAGATE_"))}
    env |= {"GITHUB_API_URL": github.url, "GITHUB_REPOSITORY": "ana/beta", "GITHUB_SHA": sha, "GITHUB_EVENT_PATH": str(event)}
    env |= {"GITHUB_TOKEN": "ghs_forTestsOnly", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run([binary, "report", "--base", "main"], cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"ended with {done.returncode}\n{done.stdout}\n{done.stderr}"


def main():
    binary, cache = os.path.abspath(sys.argv[1]), Path(sys.argv[2])
    api = description(cache)
    if api is None:
        print(f"left out: {PACKAGE} can't be had here")
        return os.environ.get("CI") == "true"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "beta"
        folder.mkdir()
        sha, github = repository(folder), GitHub(api)
        ours = "/repos/{owner}/{repo}/"
        listed, status = ("GET", ours + "issues/{issue_number}/comments"), ("POST", ours + "statuses/{sha}")
        for wanted in (
            [listed, ("POST", ours + "issues/{issue_number}/comments"), status],
            # The second time the comment is there, and is written anew.
            [listed, ("GET", "/user"), ("PATCH", ours + "issues/comments/{comment_id}"), status],
        ):
            github.heard = []
            report(binary, github, folder, sha)
            assert github.heard == wanted, github.heard
        assert len(github.comments) == 1 and github.comments[0]["body"].startswith(MARKER)
        assert github.comments[0]["user"]["login"] == github.login
        github.server.shutdown()
    print(f"{sum(map(len, api['paths'].values()))} operations of {PACKAGE} {VERSION}; 7 requests of ours")
    for wrong in github.wrong:
        print(f"  {wrong}")
    print(f"test result: {'FAILED' if github.wrong else 'ok'}. {0 if github.wrong else 1} passed; {1 if github.wrong else 0} failed")
    return bool(github.wrong)


if __name__ == "__main__":
    sys.exit(main())
