#!/usr/bin/env python3
"""Says on pull requests of a real Gitea what they would do, and lets a run propose there; `tests/run forge` calls it.

    run.py BINARY CACHE [NAME…]      only the tests whose name contains a NAME

A forge that can't be had here (no Go, no module proxy) is named and left out; with CI=true that is a failure.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
from datetime import date, timedelta
from pathlib import Path

from between import Between
from gitea import Gitea, Missing, build, run

ROOT = Path(__file__).resolve().parents[2]
IN_CI = os.environ.get("CI") == "true"
MARKER = "<!-- betagate: betagate/plan -->"
LIST = "cohorts/pavia.csv"


class World:
    """A forge, a repository with this project's own programs, and what stands between."""

    def __init__(self, binary, home, scratch):
        self.binary, self.scratch = binary, scratch
        self.gitea = Gitea(home, scratch / "gitea")
        self.between = Between(self.gitea.port)
        self.token = self.gitea.user("ana")
        self.mallory = self.gitea.user("mallory")
        self.folder = scratch / "beta"
        self.folder.mkdir()
        for room in ("manifests", "cohorts", "flags"):
            shutil.copytree(ROOT / room, self.folder / room)
        self.git("init", "--quiet", "--initial-branch=main")
        self.main = self.commit("What is live")
        self.gitea.ask("POST", "user/repos", self.token, {"name": "beta", "default_branch": "main"})
        self.gitea.push(self.folder, "ana", "ana/beta", self.token, "main")

    def git(self, *words):
        who = ["-c", "user.name=Ana Moretti", "-c", "user.email=ana@example.com"]
        return run(["git", *who, *words], self.folder, GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1").strip()

    def commit(self, message):
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    def edit(self, file, change):
        path = self.folder / file
        before = path.read_text()
        after = change(before)
        assert after != before, file
        path.write_text(after)

    def pull(self, branch, change):
        """A pull request with a change: its number and its commit."""
        self.git("checkout", "--quiet", "-B", branch, "main")
        change()
        sha = self.push(branch)
        opened = self.gitea.ask("POST", "repos/ana/beta/pulls", self.token, {"title": branch, "head": branch, "base": "main"})
        return opened["number"], sha

    def push(self, branch):
        sha = self.commit("A change")
        self.gitea.push(self.folder, "ana", "ana/beta", self.token, branch)
        return sha

    def report(self, number, sha, *words, token=None, repository="ana/beta", **more):
        """Runs `betagate report` as a workflow does: everything but the token's owner stands in variables."""
        event = self.scratch / "event.json"
        event.write_text(json.dumps({"number": number, "pull_request": {"number": number, "head": {"sha": sha}}}))
        env = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "GITEA_", "BETAGATE_"))}
        env |= {"GITEA_ACTIONS": "true", "GITHUB_SERVER_URL": self.between.url, "GITHUB_REPOSITORY": repository, "GITHUB_SHA": self.main}
        env |= {"GITHUB_EVENT_PATH": str(event), "GITHUB_TOKEN": token or self.token, "NO_PROXY": "127.0.0.1"} | more
        command = [self.binary, "report", "--base", "main", *words]
        done = subprocess.run(command, cwd=self.folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert (token or self.token) not in done.stdout + done.stderr, "the token was printed"
        return done

    def comments(self, number):
        return self.gitea.get(f"repos/ana/beta/issues/{number}/comments", self.token)

    def ours(self, number):
        return [one for one in self.comments(number) if one["body"].startswith(MARKER) and one["user"]["login"] == "ana"]

    def status(self, sha):
        """The newest status of our name."""
        found = self.gitea.get(f"repos/ana/beta/commits/{sha}/status", self.token)
        return next(one for one in found["statuses"] or [] if one["context"] == "betagate/plan")

    def stop(self):
        self.between.stop()
        self.gitea.stop()


def ended(done, code):
    assert done.returncode == code, f"ended with {done.returncode}, not {code}\n{done.stdout}\n{done.stderr}"


def from_lyon(world, without=15, people=25):
    def change(text):
        header, *rows = text.splitlines()
        rows = rows[:-without] + [f"lyon.{n:02}@example.com,listener-lyon,listener,ana@example.com,fr," for n in range(people)]
        return "\n".join([header, *rows]) + "\n"

    world.edit(LIST, change)


def test_a_pull_request_waits_for_a_word_and_goes_on_when_it_is_said(world):
    number, sha = world.pull("lyon", lambda: from_lyon(world))
    ended(world.report(number, sha), 2)
    status, (comment,) = world.status(sha), world.ours(number)
    assert status["status"] == "pending" and status["description"].startswith("waits for 1 acknowledgement: +25 people, -15 people"), status
    assert status["target_url"] == comment["html_url"], status
    assert "l…@example.com" in comment["body"] and "lyon.01@" not in comment["body"], comment["body"]
    # As Gitea shows it: a table and a fold, and nothing of the marker.
    shown = world.gitea.ask("POST", "markup", world.token, {"Text": comment["body"], "Mode": "comment", "Context": "ana/beta"})
    assert "<table" in shown and "<details>" in shown and "<!--" not in shown and "betagate: betagate/plan" not in shown, shown
    digest = re.search(r"digest: ([0-9a-f]{64})", comment["body"])[1]
    word = f"kind: Signoff\nmetadata: {{ name: seen }}\nspec: {{ program: kruxt, by: founder, says: acknowledge, object: Cohort/pavia, digest: {digest} }}\n"
    (world.folder / "cohorts/seen.yaml").write_text(word)
    sha = world.push("lyon")
    ended(world.report(number, sha), 0)
    assert world.status(sha)["status"] == "success", world.status(sha)
    (again,) = world.ours(number)
    assert again["id"] == comment["id"] and again["body"] != comment["body"] and "founder" in again["body"], again["body"]


def test_what_is_broken_fails_with_its_file_and_line(world):
    number, sha = world.pull("broken", lambda: world.edit("manifests/kruxt/weekly-kpis.yaml", lambda text: text.replace("retention_w4", "retention_w5")))
    done = world.report(number, sha)
    ended(done, 1)
    assert "manifests/kruxt/weekly-kpis.yaml:" in done.stderr, done.stderr
    status, (comment,) = world.status(sha), world.ours(number)
    assert status["status"] == "failure" and "1 problem to mend" in status["description"], status
    assert "`manifests/kruxt/weekly-kpis.yaml:" in comment["body"], comment["body"]


def lower_bar(world):
    world.edit("manifests/kruxt/weekly-kpis.yaml", lambda text: text.replace('">= 25%"', '">= 20%"'))


def test_another_persons_comment_with_our_marker_is_left_alone_among_many(world):
    number, sha = world.pull("forged", lambda: lower_bar(world))
    world.gitea.ask("PUT", "repos/ana/beta/collaborators/mallory", world.token, {"permission": "write"})
    forged = world.gitea.ask("POST", f"repos/ana/beta/issues/{number}/comments", world.mallory, {"body": f"{MARKER}\nall is well"})
    for n in range(120):
        world.gitea.ask("POST", f"repos/ana/beta/issues/{number}/comments", world.mallory, {"body": f"comment {n}"})
    for _ in range(2):
        ended(world.report(number, sha), 0)
    assert len(world.ours(number)) == 1
    assert world.gitea.get(f"repos/ana/beta/issues/comments/{forged['id']}", world.token)["body"].endswith("all is well")


def test_a_forge_that_is_unwell_is_asked_again_and_no_comment_is_written_twice(world):
    number, sha = world.pull("unwell", lambda: lower_bar(world))
    world.between.fail(("GET", "refuse"), ("POST", "lose"), ("POST", "refuse"))
    ended(world.report(number, sha), 0)
    assert not world.between.faults, "every fault was met"
    assert len(world.ours(number)) == 1 and world.status(sha)["status"] == "success"


def test_two_names_are_two_statuses_and_two_comments(world):
    number, sha = world.pull("staging", lambda: lower_bar(world))
    ended(world.report(number, sha), 0)
    ended(world.report(number, sha, "--context", "betagate/staging", "--environment", "staging"), 0)
    statuses = world.gitea.get(f"repos/ana/beta/commits/{sha}/status", world.token)["statuses"]
    assert sorted(one["context"] for one in statuses) == ["betagate/plan", "betagate/staging"], statuses
    assert len([one for one in world.comments(number) if one["body"].startswith("<!-- betagate: ")]) == 2


def test_a_change_of_a_thousand_documents_fits_into_a_comment(world):
    def change():
        flag = "---\nkind: Flag\nmetadata: {{ name: one-of-very-many-flags-with-a-rather-long-name-{0} }}\nspec: {{ program: kruxt, type: boolean, variants: {{ 'on': true, 'off': false }}, defaultVariant: 'off' }}\n"
        (world.folder / "flags/many.yaml").write_text("".join(flag.format(n) for n in range(1500)))

    number, sha = world.pull("many", change)
    ended(world.report(number, sha), 0)
    (comment,) = world.ours(number)
    assert len(comment["body"].encode()) <= 65_536 and "… and 1,300 more documents" in comment["body"], comment["body"][-300:]


def test_refusals_are_told_in_words_that_help(world):
    number, sha = world.pull("refused", lambda: lower_bar(world))
    reads = world.gitea.token("ana", "read:repository,read:issue,read:user")
    for words, wanted in [
        ({"token": "0" * 40}, "the forge does not know the token (401)"),
        ({"token": reads}, "the token may not comment on a pull request (403)"),
        ({"repository": "ana/none"}, f"the forge has no pull request {number} in ana/none (404)"),
    ]:
        done = world.report(number, sha, **words)
        ended(done, 1)
        assert wanted in done.stderr, done.stderr
    done = world.report(number, sha, GITHUB_TOKEN="")
    ended(done, 64)
    assert "GITHUB_TOKEN" in done.stderr, done.stderr


LIVE = """kind: Program
metadata: {{ name: small }}
spec:
  timeZone: UTC
  startsOn: {today}
  people: {{ ana: {{}}, bob: {{}} }}
  forge: {{ api: '{api}', repository: ana/small, tokenRef: forge-token }}
---
kind: Flag
metadata: {{ name: boost }}
spec: {{ program: small, type: boolean, variants: {{ 'on': true, 'off': false }}, defaultVariant: '{boost}', safeVariant: 'off' }}
---
kind: Rollout
metadata: {{ name: all }}
spec:
  program: small
  stages:
    - {{ name: first }}
    - {{ name: public, enter: {{ signoffs: {{ from: [ana, bob], call: {{ at: +0d }} }} }}, tag: {{ name: v2.0.0-public }} }}
---
kind: RollbackPlan
metadata: {{ name: back }}
spec:
  program: small
  when: [ {{ incident: {{ severity: sev-1, activeFor: 30m }} }} ]
  steps:
    - freezeInvites: {{ cohorts: all }}
    - captureRootCause: {{ owner: ana, propose: [document, revert] }}
"""


class Live:
    """`betagate up` on a repository of the forge, which it may push to."""

    def __init__(self, world, stack):
        self.world = world
        self.data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="betagate-live.")))
        (self.data / "secrets").mkdir(mode=0o700)
        for name in ("git-token", "forge-token"):
            (self.data / "secrets" / name).write_text(world.token)
            (self.data / "secrets" / name).chmod(0o600)
        self.folder = world.scratch / "small"
        self.folder.mkdir()
        world.gitea.ask("POST", "user/repos", world.token, {"name": "small", "default_branch": "main"})
        run(["git", "init", "--quiet", "--initial-branch=main"], self.folder)
        self.good, self.bad = self.push("off"), self.push("on")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.log = self.data / "log"
        words = [world.binary, "up", "--data", self.data, "--listen", f"127.0.0.1:{port}", "--git", f"{world.gitea.url}/ana/small.git"]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(words, cwd=self.data, env=self.env(), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        stack.callback(self.stop)

    def env(self):
        return {name: value for name, value in os.environ.items() if not name.startswith("BETAGATE_")} | {"NO_PROXY": "127.0.0.1"}

    def push(self, boost):
        (self.folder / "manifests").mkdir(exist_ok=True)
        text = LIVE.format(today=date.today() - timedelta(days=1), api=f"{self.world.between.url}/api/v1", boost=boost)
        (self.folder / "manifests/small.yaml").write_text(text)
        who = ["-c", "user.name=Ana Moretti", "-c", "user.email=ana@example.com"]
        run(["git", "add", "--all"], self.folder)
        run(["git", *who, "commit", "--quiet", "--message", f"boost is {boost}"], self.folder)
        self.world.gitea.push(self.folder, "ana", "ana/small", self.world.token, "main")
        return run(["git", "rev-parse", "HEAD"], self.folder).strip()

    def say(self, *words, codes=(0,)):
        words = [self.world.binary, *words, "--data", self.data]
        done = subprocess.run(words, cwd=self.data, env=self.env(), stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode in codes, f"{words[1:]} ended with {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.log.read_text()}"
        return done.stdout

    def until(self, what, look, limit=120):
        end = time.monotonic() + limit
        while not (found := look()):
            assert time.monotonic() < end, f"{what} never came\n{self.log.read_text()[-3000:]}"
            assert self.process.poll() is None, f"up ended\n{self.log.read_text()[-3000:]}"
            time.sleep(0.2)
        return found

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def test_what_a_run_proposes_becomes_one_pull_request_each_that_can_be_merged_and_a_go_becomes_a_tag(world):
    with contextlib.ExitStack() as stack:
        live = Live(world, stack)
        live.until("the program", lambda: "first" in live.say("get", "rollout", codes=(0, 1, 2)))
        for person in ("ana", "bob"):
            live.say("signoff", "go", "--rollout", "all", "--stage", "public", "--by", person)
        (tag,) = live.until("the tag", lambda: world.gitea.get("repos/ana/small/tags", world.token))
        assert (tag["name"], tag["commit"]["sha"]) == ("v2.0.0-public", live.bad), tag

        # The forge is unwell when the first one is opened: it opens it, and its answer is lost.
        world.between.fail(("POST", "lose"))
        live.say("incident", "open", "down", "--severity", "sev-1", "--title", "Down", "--ago", "31m", "--by", "ana")

        def pulls():
            return {pull["head"]["ref"]: pull for pull in world.gitea.get("repos/ana/small/pulls?state=all", world.token)}

        there = live.until("both pull requests", lambda: len(found := pulls()) == 2 and found)
        assert set(there) == {"betagate/cause-back-1-1", "betagate/revert-back-1"}, there
        shown = live.until(
            "both in the run", lambda: (text := live.say("rollback", "show", "back-1", codes=(0, 2))).count("pull request: http") == 2 and text, 300
        )
        assert all(pull["html_url"] in shown for pull in there.values()) and not world.between.faults, shown
        revert, cause = there["betagate/revert-back-1"], there["betagate/cause-back-1-1"]
        assert revert["title"] == f"Take back {live.bad}" and revert["base"]["ref"] == "main" and revert["mergeable"], revert
        world.gitea.ask("POST", f"repos/ana/small/pulls/{revert['number']}/merge", world.token, {"Do": "merge"})
        text = world.gitea.ask("GET", "repos/ana/small/raw/manifests/small.yaml", world.token)
        assert "defaultVariant: 'off'" in text, text
        document = world.gitea.ask("GET", f"repos/ana/small/raw/incidents/back-1.md?ref={cause['head']['ref']}", world.token)
        assert "back-1" in document and "Down" in document, document
        live.say("audit", "verify")
        assert len(pulls()) == 2
        assert world.token not in shown + live.log.read_text() + live.say("why", "rollback/back-1", codes=(0, 2)), "the token was printed"


def main(binary, cache, wanted):
    tests = {name.removeprefix("test_"): test for name, test in globals().items() if name.startswith("test_")}
    tests = {name: test for name, test in tests.items() if not wanted or any(word in name for word in wanted)}
    passed = failed = 0
    with contextlib.ExitStack() as stack:
        try:
            home = build(cache)
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="betagate-forge.")))
            world = World(binary, home, scratch)
            stack.callback(world.stop)
        except Missing as why:
            print(f"SKIPPED: there is no forge here: {why}")
            print(f"test result: {'FAILED' if IN_CI else 'ok'}. 0 passed; {int(IN_CI)} failed")
            raise SystemExit(int(IN_CI)) from None
        print(f"Gitea {world.gitea.version} at {world.gitea.url}", flush=True)
        for name, test in tests.items():
            try:
                test(world)
                passed += 1
                print(f"test {name} ... ok", flush=True)
            except (AssertionError, Missing, OSError, urllib.error.HTTPError, ValueError, TypeError, StopIteration):
                failed += 1
                print(f"test {name} ... FAILED\n{traceback.format_exc()}", flush=True)
    print(f"test result: {'FAILED' if failed else 'ok'}. {passed} passed; {failed} failed")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), sys.argv[3:])
