"""Flux beside betagate, as it is: it applies the documents, betagate acts on them, and neither writes what is the other's. Also where betagate's own Git says the same."""

import json
import subprocess

from harness import kubectl, resource, wait_for
from own_flux import flux_into
from own_server import beta

PROGRAM = resource("Program", "small", timeZone="UTC", startsOn="2026-03-02", people={"founder": {"kubernetes": ["admin"]}})
COHORT = resource("Cohort", "pavia", program="small", members={"inline": [{"email": "ada@example.com"}]})
ROLLOUT = resource("Rollout", "all", program="small", stages=[{"name": "first", "cohorts": ["pavia"]}])
# The flags last: nobody reports that they are served, as no API runs as a pod here.
STEPS = [{"freezeInvites": {"cohorts": "all"}}, {"scaleWorkload": {"workload": "crew", "replicas": 1}}, {"disableFlags": {"keys": ["new-feed"]}}]
PLAN = resource("RollbackPlan", "back", program="small", when=[{"incident": {"severity": "sev-1", "activeFor": "30m"}}], steps=STEPS)
FLUX, OURS = "kustomize-controller", {"betagate", "betagate-status"}


def _flag(name, default, **more):
    return resource("Flag", name, program="small", type="boolean", variants={"on": True, "off": False}, safeVariant="off", defaultVariant=default, **more)


def _crew(replicas):
    return resource("Workload", "crew", program="small", component="worker", image="betagate.test/pause:1", replicas=replicas)


def _all(space):
    """Everything that one of the two has a hand in, by kind and name."""
    kinds = "betagate,deployments,services,poddisruptionbudgets,networkpolicies"
    found = json.loads(kubectl("get", kinds, "-o", "json", "--show-managed-fields", namespace=space).must())["items"]
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def _versions(space):
    return {what: one["metadata"]["resourceVersion"] for what, one in _all(space).items()}


def _stands_still(space, flux):
    """While Flux looks five times, nothing is written: not by it, nor by betagate."""
    def at_rest():
        before = _versions(space)
        flux.looks(1)
        return _versions(space) == before

    wait_for("what was begun to be done", at_rest)
    before = _versions(space)
    flux.looks(5)
    after = _versions(space)
    assert after == before, {what: (before.get(what), after.get(what)) for what in before.keys() | after.keys() if before.get(what) != after.get(what)}


def _managers(one, subresource=""):
    return {entry["manager"] for entry in one["metadata"]["managedFields"] if entry.get("subresource", "") == subresource}


def _seen(one, what):
    found = one.read(what)
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"] == 2, found
    return True


def _replicas(one):
    return one.read("deployment/crew")["spec"]["replicas"]


def flux_applies_and_betagate_acts_and_neither_writes_what_is_the_others(pods, flux):
    with beta("beside-flux") as one, flux_into(one.space) as flux:
        leader = one.controller("first", "--image=betagate.test/betagate:dev")
        files = {"program": [PROGRAM], "pavia": [COHORT], "rollout": [ROLLOUT], "plan": [PLAN], "feed": [_flag("new-feed", "on")], "crew": [_crew(2)]}
        flux.applies(files)
        for what, state in {"cohort/pavia": "Open", "flag/new-feed": "Served", "workload/crew": "Ready"}.items():
            wait_for(f"{what} to be {state}", lambda: one.state(what) == state, 120)
        serves = one.api()
        wait_for("the flag to be served", lambda: serves("new-feed") == "on")
        _stands_still(one.space, flux)

        # Whose is what: the documents are Flux's, statuses and what they become are ours.
        for (kind, name), found in _all(one.space).items():
            documents = {(document["kind"], document["metadata"]["name"]) for of_file in files.values() for document in of_file}
            if (kind, name) in documents:
                assert FLUX in _managers(found) and not _managers(found) & OURS, (kind, name, _managers(found))
                assert _managers(found, "status") <= OURS, (kind, name, _managers(found, "status"))
                assert found["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/name"] == "beta", (kind, name)
            else:
                assert FLUX not in _managers(found), (kind, name, _managers(found))

        # A rollback holds a flag and a workload; Flux goes on applying what Git says of them.
        one.down()
        one.caught_up(["1 freezeInvites", "2 scaleWorkload", "3 disableFlags"])
        wait_for("the workload to be scaled", lambda: _replicas(one) == 1)
        wait_for("the flag to be served safe", lambda: serves("new-feed") == "off")
        wait_for("the workload to say that it is held", lambda: one.state("workload/crew") == "Held")
        _stands_still(one.space, flux)
        files |= {"feed": [_flag("new-feed", "on", description="another version")], "crew": [_crew(3)]}
        flux.applies(files)
        for what in ("flag/new-feed", "workload/crew"):
            wait_for(f"{what} to be seen", lambda: _seen(one, what))
            assert one.state(what) == "Held", what
        _stands_still(one.space, flux)
        assert serves("new-feed") == "off" and _replicas(one) == 1
        # What Flux prunes goes, and its hold stays.
        flux.applies({name: documents for name, documents in files.items() if name != "feed"})
        wait_for("the flag to be pruned", lambda: ("Flag", "new-feed") not in _all(one.space))
        wait_for("the plan to say so", lambda: one.condition("rollbackplan/back", "Accepted")[1] == "ReferenceDeleted")
        _stands_still(one.space, flux)
        assert serves("new-feed") == "off" and one.frozen() and leader.runs()


def where_flux_and_our_git_say_different_things_nobody_fights(flux):
    with beta("flux-and-git") as one, flux_into(one.space) as flux:
        repository = one.folder / "git"
        files = {"program": PROGRAM, "pavia": COHORT, "rollout": ROLLOUT, "extra": _flag("extra", "off")}
        (repository / "manifests").mkdir(parents=True)
        for name, document in files.items():
            (repository / f"manifests/{name}.yaml").write_text(json.dumps(document))
        for words in (["init", "--quiet", "--initial-branch=main"], ["add", "--all"], ["-c", "user.name=Ana", "-c", "user.email=ana@example.com", "commit", "--quiet", "-m", "What is live"]):
            subprocess.run(["git", "-C", repository, *words], check=True)
        leader = one.controller("first", f"--git={repository}")
        default = lambda: one.read("flag/extra")["spec"].get("defaultVariant")  # noqa: E731
        contested = lambda: (one.condition("flag/extra", "Applied") or ("True", "", ""))[:2] == ("False", "Contested")  # noqa: E731
        wait_for("Git to be applied", lambda: one.state("flag/extra") == "Served")

        # The same from both sides is no conflict.
        same = {name: [document] for name, document in files.items()}
        flux.applies(same)
        _stands_still(one.space, flux)
        assert _managers(_all(one.space)[("Flag", "extra")]) == {FLUX, "betagate-git"} and not contested()

        # Another value: Flux takes the field, as it does with every tool, and we leave it.
        flux.applies(same | {"extra": [_flag("extra", "on")]})
        wait_for("it to be told", contested)
        assert f"{FLUX} applies the same fields" in one.condition("flag/extra", "Applied")[2], one.condition("flag/extra", "Applied")
        _stands_still(one.space, flux)
        assert default() == "on" and contested()

        # It says nothing of the field any more: Git's value comes back, and the rest stays Flux's.
        theirs = resource("Flag", "extra", program="small", description="theirs")
        flux.applies(same | {"extra": [theirs]})
        wait_for("Git's value", lambda: default() == "off" and not contested())
        _stands_still(one.space, flux)
        assert one.read("flag/extra")["spec"]["description"] == "theirs"

        # Flux deletes what it prunes, whoever applies it too; it is in Git, and made again.
        before = one.read("flag/extra")["metadata"]["uid"]
        flux.applies({name: documents for name, documents in same.items() if name != "extra"})
        wait_for("it to be made again", lambda: one.read("flag/extra")["metadata"]["uid"] != before and one.state("flag/extra") == "Served")
        _stands_still(one.space, flux)
        assert default() == "off" and leader.runs()
