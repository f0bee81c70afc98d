"""Two installations in two namespaces of one real API server: neither reaches what is the other's, in the cluster or in the database."""

import contextlib
import itertools
import json
import os
import subprocess
import tempfile
from pathlib import Path

from harness import CHART, ROOT, apply, definitions, documents_of, helm, kubectl, namespace, read, resource, run, wait_for

NUMBERS = itertools.count(1)
WRITERS = {"one": "oidc:ana", "two": "oidc:bob"}
RIGHTS = ("rights", "policies", "controller")


CASE = ["0"]


def _name(tenant):
    # A namespace is let go slowly: each case has its own.
    return f"tenant-{tenant}-{CASE[0]}"


def _program(tenant):
    return resource("Program", "beta", timeZone="UTC", startsOn="2026-03-02", people={"founder": {"kubernetes": [WRITERS[tenant]]}})


def _flag(variant):
    return resource("Flag", "feed", program="beta", type="boolean", variants={"on": True, "off": False}, defaultVariant=variant)


@contextlib.contextmanager
def _tenant(tenant):
    """The chart's rights, policies and account, without its pods; a user who may write everything there."""
    with namespace(_name(tenant)) as space:
        given = [f"--show-only=templates/{part}.yaml" for part in RIGHTS]
        text = helm("template", "betagate", CHART, f"--namespace={space}", "--set=database.existingSecret=x", *given).must()
        documents = [one for one in documents_of(text) if one["kind"] not in ("Deployment", "PodDisruptionBudget")]
        apply(documents, namespace=space).must()
        rule = {"apiGroups": ["betagate.dev"], "resources": ["*"], "verbs": ["*"]}
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": WRITERS[tenant]}
        apply([{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "writers"}, "rules": [rule]},
               {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "writers"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "writers"}, "subjects": [subject]}], namespace=space).must()
        try:
            yield documents
        finally:
            beyond = [one for one in documents if one["kind"].startswith(("ClusterRole", "ValidatingAdmissionPolicy"))]
            kubectl("delete", "-f", "-", "--wait=false", stdin="\n---\n".join(map(json.dumps, beyond)))


@contextlib.contextmanager
def _tenants():
    definitions()
    CASE[0] = str(next(NUMBERS))
    with _tenant("one") as one, _tenant("two"):
        yield one


def _psql(*words, url=None):
    psql = next(path / "psql" for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True) if (path / "psql").exists())
    return run(psql, "-q", "-X", "-At", "-v", "ON_ERROR_STOP=1", url or os.environ["BETAGATE_TEST_POSTGRES"], *words)


@contextlib.contextmanager
def _databases():
    """One server, a role and a database for each tenant; what a role does not own it can't enter."""
    base = os.environ["BETAGATE_TEST_POSTGRES"]
    host = base.rsplit("@", 1)[1].split("/")[0]
    try:
        for tenant in WRITERS:
            name = f"tenant_{tenant}"
            _psql("-c", f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)').must()
            _psql("-c", f'DROP ROLE IF EXISTS "{name}"', "-c", f'CREATE ROLE "{name}" LOGIN', "-c", f'CREATE DATABASE "{name}" OWNER "{name}"').must()
            _psql("-c", f'REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC').must()
        yield {tenant: f"postgres://tenant_{tenant}@{host}/tenant_{tenant}" for tenant in WRITERS}
    finally:
        for tenant in WRITERS:
            _psql("-c", f'DROP DATABASE IF EXISTS "tenant_{tenant}" WITH (FORCE)')
            _psql("-c", f'DROP ROLE IF EXISTS "tenant_{tenant}"')


@contextlib.contextmanager
def _controller(tenant, url, folder):
    """The real controller, as the account of its namespace and with no other rights."""
    space = _name(tenant)
    token = kubectl("create", "token", "betagate", namespace=space).must().strip()
    account = folder / f"{tenant}.kubeconfig"
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json").must())
    config["users"] = [{"name": "controller", "user": {"token": token}}]
    config["contexts"][0]["context"] |= {"user": "controller", "namespace": space}
    account.write_text(json.dumps(config))
    data, log = folder / tenant, open(folder / f"{tenant}.log", "w")
    environment = os.environ | {"KUBECONFIG": str(account), "BETAGATE_DATA": str(data), "RUST_LOG": "info",
                                "BETAGATE_SIGNOFF_POLICIES": f"betagate-{space}-signoffs,betagate-{space}-carried"}
    program = ROOT / "target/debug/betagate"
    process = subprocess.Popen([program, "controller", "--cluster", f"--namespace={space}", f"--database={url}"], env=environment, stdout=log, stderr=log)
    try:
        yield account
    except BaseException:
        print((folder / f"{tenant}.log").read_text()[-4000:], flush=True)
        raise
    finally:
        process.terminate()
        process.wait(timeout=30)


def an_account_can_do_nothing_in_another_namespace():
    with _tenants() as documents:
        role = next(one for one in documents if one["kind"] == "Role")
        account = f"system:serviceaccount:{_name('one')}:betagate"

        def may(verb, what, group, space):
            what, _, part = what.partition("/")
            more = [f"--subresource={part}"] if part else []
            return kubectl("auth", "can-i", verb, f"{what}.{group}" if group else what, *more, namespace=space, user=account).done

        wait_for("the account to have its rights", lambda: may("get", "programs", "betagate.dev", _name("one")))
        tried = 0
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for what in rule["resources"]:
                    # One right of each sort in its own; every right is refused in the other.
                    assert may(rule["verbs"][0], what, group, _name("one")), (rule["verbs"][0], what)
                    for verb in rule["verbs"]:
                        assert not may(verb, what, group, _name("two")), (verb, what)
                        tried += 1
        assert tried > 60, tried
        assert not may("list", "programs", "betagate.dev", "default") and not may("list", "namespaces", "", _name("one"))


def what_is_given_in_one_namespace_is_nothing_in_the_other():
    with _tenants():
        for tenant in WRITERS:
            apply([_program(tenant), _flag("off")], namespace=_name(tenant)).must()
        wait_for("the policies to know their people", lambda: apply([resource("Signoff", "go-1", program="beta", by="founder", says="go", rollout="r", stage="s")],
                                                                      namespace=_name("one"), user=WRITERS["one"]).done)
        there = {"namespace": _name("two"), "user": WRITERS["one"]}
        forbidden = "cannot"
        kubectl("get", "flags", **there).refused(forbidden)
        apply([_flag("on")], **there).refused(forbidden)
        kubectl("delete", "program", "beta", **there).refused(forbidden)
        # Bound in both namespaces, they are still nobody in the other's program.
        apply([{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "guest"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "writers"},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": WRITERS["one"]}]}], namespace=_name("two")).must()
        word = [resource("Signoff", "go-2", program="beta", by="founder", says="go", rollout="r", stage="s")]
        wait_for("the guest to be let in", lambda: kubectl("get", "flags", **there).done)
        apply(word, **there).refused("you are oidc:ana: only founder gives or takes back their word")
        # Whom one installation exempts the other does not: its controller is a stranger there, whatever rights somebody gives it.
        account = f"system:serviceaccount:{_name('one')}:betagate"
        apply([{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "stranger"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "writers"},
                "subjects": [{"kind": "ServiceAccount", "name": "betagate", "namespace": _name("one")}]}], namespace=_name("two")).must()
        wait_for("the stranger to be let in", lambda: kubectl("get", "flags", namespace=_name("two"), user=account).done)
        apply(word, namespace=_name("two"), user=account).refused("only founder gives or takes back their word")


def two_controllers_serve_two_namespaces_and_neither_knows_of_the_other():
    with _tenants(), _databases() as urls, tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        # Neither role enters the other's database.
        for tenant, other in (("one", "two"), ("two", "one")):
            _psql("-c", "SELECT 1", url=urls[tenant]).must()
            _psql("-c", "SELECT 1", url=urls[tenant].rsplit("/", 1)[0] + f"/tenant_{other}").refused("permission denied for database")
        with _controller("one", urls["one"], folder) as account, _controller("two", urls["two"], folder):
            for tenant, variant in (("one", "on"), ("two", "off")):
                apply([_program(tenant), _flag(variant)], namespace=_name(tenant)).must()
            served = {"one": "on", "two": "off"}
            for tenant in WRITERS:
                wait_for(f"{tenant} to be served", lambda: read("flag", "feed", _name(tenant))["status"]["state"] == "Served")
                published = "SELECT body->'flags'->'feed'->>'defaultVariant' FROM flag_snapshots ORDER BY revision DESC LIMIT 1"
                assert _psql("-c", published, url=urls[tenant]).must().strip() == served[tenant]
            # What is recorded through one is seen in its namespace alone.
            beta = [ROOT / "target/debug/betagate", "incident", "open", "slow", "--severity=sev-3", "--title=Sync is slow", "--by=founder"]
            run(*beta, f"--database={urls['one']}").must()
            seen = wait_for("the incident to be seen", lambda: read("incident", "slow", _name("one")))
            assert seen["metadata"]["labels"]["betagate.dev/recorded"] == "cli", seen["metadata"]
            kubectl("get", "incident", "slow", namespace=_name("two")).refused("not found")
            # The account of one asks for the other's by itself, with its own token.
            run("kubectl", f"--kubeconfig={account}", "get", "flags", f"--namespace={_name('one')}").must()
            run("kubectl", f"--kubeconfig={account}", "get", "flags,secrets,leases", f"--namespace={_name('two')}").refused("cannot list")
            run("kubectl", f"--kubeconfig={account}", "patch", "flag", "feed", f"--namespace={_name('two')}", "--type=merge", "-p", "{}").refused("is forbidden")
