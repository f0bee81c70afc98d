"""A real Gitea on loopback: built once from its Go module, with a database and repositories of its own, gone when the suite ends.

Only its API and Git are used, so it is built without its frontend. 1.26.0 is the newest version that the Go module proxy can build: what
1.27 and later are made of (gitea.dev/…) is not there.
"""

import base64
import getpass
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

MODULE = "code.gitea.io/gitea"
VERSION = "v1.26.0"
SUM = "h1:fJP9dqLbzKrKWUVnCVTfVersZdVDuyJQLEDzCAOmKKA="
# Gitea looks for these beside itself.
STATIC = ("options", "public", "templates")


class Missing(Exception):
    """Why there is no Gitea here."""


def run(words, folder=None, **env):
    """Runs a command and gives what it printed; what it complained of is shown only when it fails."""
    done = subprocess.run([str(word) for word in words], cwd=folder, env=os.environ | env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"`{' '.join(map(str, words[:3]))} …` failed: {' | '.join((done.stderr or done.stdout).strip().splitlines()[-4:])}")
    return done.stdout


def build(cache):
    """The folder with the program and what it reads, made once."""
    home = cache / f"gitea-{VERSION}"
    if (home / "gitea").exists():
        return home
    for program in ("go", "git"):
        if not shutil.which(program):
            raise Missing(f"{program} is not installed")
    if shutil.which("gcc") is None and shutil.which("cc") is None:
        raise Missing("SQLite in Gitea needs a C compiler")
    print(f"building Gitea {VERSION} from its module; this takes some minutes, once", flush=True)
    begun = time.monotonic()
    # Go keeps everything that it fetches and builds; here that is for once.
    go = cache / "gitea-go"
    shutil.rmtree(go, ignore_errors=True)
    go.mkdir(parents=True)
    env = {"GOPATH": str(go), "GOCACHE": str(go / "built"), "GOFLAGS": "-modcacherw", "CGO_ENABLED": "1"}
    found = json.loads(run(["go", "mod", "download", "-json", f"{MODULE}@{VERSION}"], cache, **env))
    if found["Sum"] != SUM:
        raise Missing(f"{MODULE}@{VERSION} is not the one that was meant: {found['Sum']}")
    # A copy: replace lines count only in a main module, and nothing in Go's cache of modules may be one.
    source = go / "gitea"
    shutil.copytree(found["Dir"], source)
    made = cache / f"gitea-{VERSION}.new"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    flags = f"-s -w -X main.Version={VERSION.removeprefix('v')}"
    run(["go", "build", "-tags", "sqlite sqlite_unlock_notify", "-ldflags", flags, "-o", made / "gitea", "."], source, **env)
    for folder in STATIC:
        shutil.copytree(source / folder, made / folder)
    shutil.rmtree(go)
    shutil.rmtree(home, ignore_errors=True)
    made.rename(home)
    print(f"built Gitea {VERSION} in {time.monotonic() - begun:.0f} s", flush=True)
    return home


CONFIG = """
APP_NAME = forge
RUN_USER = {user}
RUN_MODE = prod
WORK_PATH = {work}
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = {root}
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {port}
ROOT_URL = http://127.0.0.1:{port}/
DISABLE_SSH = true
OFFLINE_MODE = true
STATIC_ROOT_PATH = {home}
[database]
DB_TYPE = sqlite3
PATH = {work}/gitea.db
[security]
INSTALL_LOCK = true
SECRET_KEY = {secret}
INTERNAL_TOKEN = {secret}
[service]
DISABLE_REGISTRATION = true
[log]
LEVEL = Warn
[actions]
ENABLED = false
[oauth2]
ENABLED = false
[indexer]
ISSUE_INDEXER_TYPE = db
"""


class Gitea:
    """A server on a free loopback port."""

    def __init__(self, home, work):
        self.program, self.work = home / "gitea", work
        work.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.config = work / "app.ini"
        root = str(os.geteuid() == 0).lower()
        text = CONFIG.format(user=getpass.getuser(), work=work, port=self.port, home=home, root=root, secret=secrets.token_hex(32))
        self.config.write_text(text)
        # Nothing of the machine's own Git configuration, and nothing into it.
        self.env = os.environ | {"HOME": str(work), "GIT_CONFIG_NOSYSTEM": "1", "GITEA_WORK_DIR": str(work)}
        self.admin("migrate")
        self.log = open(work / "web.log", "wb")  # noqa: SIM115
        words = [self.program, "--config", self.config, "web"]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=self.env)
        end = time.monotonic() + 60
        while True:
            try:
                self.version = self.get("version")["version"]
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    self.stop()
                    raise Missing(f"Gitea did not start: {(work / 'web.log').read_text()[-500:]}") from None
                time.sleep(0.1)

    def admin(self, *words):
        done = subprocess.run([self.program, "--config", self.config, *words], env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise Missing(f"gitea {' '.join(words[:3])} failed: {(done.stderr or done.stdout).strip()[-300:]}")
        return done.stdout.strip()

    def user(self, name):
        """A user and a token of theirs that may do all that the suite does."""
        self.admin("admin", "user", "create", "--username", name, "--password", secrets.token_hex(16), "--email", f"{name}@example.com", "--must-change-password=false")
        return self.token(name, "write:repository,write:issue,write:user,write:misc")

    def token(self, name, scopes):
        words = ["admin", "user", "generate-access-token", "--username", name, "--token-name", secrets.token_hex(4), "--scopes", scopes, "--raw"]
        return self.admin(*words).splitlines()[-1]

    def ask(self, method, path, token=None, body=None):
        """The answer of the API, as JSON where it is."""
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", method=method)
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            request.add_header("content-type", "application/json")
        if token:
            request.add_header("authorization", f"token {token}")
        with urllib.request.urlopen(request, data, timeout=30) as answer:
            text = answer.read().decode()
        return json.loads(text) if text.startswith(("{", "[")) else text

    def get(self, path, token=None):
        return self.ask("GET", path, token)

    def push(self, folder, name, repository, token, branch):
        """Pushes a branch, the token in a header and so in no configuration."""
        basic = base64.b64encode(f"{name}:{token}".encode()).decode()
        words = ["git", "-c", f"http.extraHeader=Authorization: Basic {basic}", "push", "--quiet", "--force", f"{self.url}/{repository}.git", branch]
        run(words, folder, GIT_TERMINAL_PROMPT="0", GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1")
        sha = run(["git", "rev-parse", branch], folder).strip()
        # The API learns of it a moment later.
        end = time.monotonic() + 30
        while self.tip(repository, branch, token) != sha:
            if time.monotonic() > end:
                raise Missing(f"Gitea never saw {branch}")
            time.sleep(0.05)

    def tip(self, repository, branch, token):
        try:
            return self.get(f"repos/{repository}/branches/{branch}", token)["commit"]["id"]
        except urllib.error.HTTPError:
            return None

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
