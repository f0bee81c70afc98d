"""The chart installed, upgraded and uninstalled for real: pods under the restricted profile, a PostgreSQL outside, keys that outlive a release."""

import json

from harness import CHART, IMAGE, helm, installed, kubectl, read, wait_for

def _names(kind, space):
    return sorted(item["metadata"]["name"] for item in json.loads(kubectl("get", kind, "-o", "json", namespace=space).must())["items"])


def _of_the_whole_cluster():
    kinds = ("clusterrole", "validatingadmissionpolicy", "validatingadmissionpolicybinding")
    lists = {kind: json.loads(kubectl("get", kind, "-l", "app.kubernetes.io/part-of=betagate", "-o", "json").must())["items"] for kind in kinds}
    return {(kind, item["metadata"]["name"]) for kind, items in lists.items() for item in items}


def a_release_is_installed_tested_upgraded_and_uninstalled(pods):
    before = _of_the_whole_cluster()
    with installed("beta-install") as space:
        assert read("deployment", "betagate-controller", space)["status"]["readyReplicas"] == 2
        said = helm("test", "betagate", f"--namespace={space}", "--timeout=60s")
        assert said.done and "Succeeded" in said.out, said.text
        leads = wait_for("a leader", lambda: [read("lease", name, space)["spec"].get("holderIdentity") for name in _names("lease", space)])
        assert len(leads) == 1 and leads[0], leads
        keys = read("secret", "betagate-keys", space)["data"]
        assert sorted(keys) == ["admin.token", "credential.key", "invite.key", "pseudonym.key", "token.key"]
        helm("upgrade", "betagate", CHART, f"--namespace={space}", *IMAGE, "--set=image.tag=next", "--set=database.existingSecret=beta-database", "--wait", "--timeout=180s").must()
        deployment = read("deployment", "betagate-controller", space)
        assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "betagate.test/betagate:next"
        assert deployment["status"]["readyReplicas"] == 2
        assert read("secret", "betagate-keys", space)["data"] == keys, "an upgrade must not make keys anew"
        helm("uninstall", "betagate", f"--namespace={space}", "--wait").must()
        left = {kind: _names(kind, space) for kind in ("deployment", "role", "rolebinding", "serviceaccount", "poddisruptionbudget", "secret")}
        assert left == {"deployment": [], "role": [], "rolebinding": [], "serviceaccount": ["default"], "poddisruptionbudget": [], "secret": ["beta-database", "betagate-keys"]}, left
        kubectl("get", "crd", "flags.betagate.dev").must()
        assert _of_the_whole_cluster() <= before, "nothing of the release stays"


def the_roles_add_up(pods):
    with installed("beta-roles") as space:
        for role in ("viewer", "reviewer", "operator", "owner"):
            kubectl("create", "rolebinding", role, f"--clusterrole=betagate-{role}", f"--user=oidc:{role}", namespace=space).must()
        # What a role may, in the order of the roles: the next ones may it too.
        wanted = {
            "viewer": ["get flags", "list rollbacks", "watch gates"],
            "reviewer": ["create signoffs", "create incidents", "get cohorts", "get invites"],
            "operator": ["update flags", "delete invites", "create programs", "patch workloads", "patch workloads/scale"],
            "owner": ["govern programs"],
            None: ["create rollbacks", "patch flags/status", "update rollbacks/status"],
        }

        def may(role, words):
            verb, what = words.split(" ")
            what, _, part = what.partition("/")
            return kubectl("auth", "can-i", verb, f"{what}.betagate.dev", *([f"--subresource={part}"] if part else []), namespace=space, user=f"oidc:{role}").done

        wait_for("the roles to be put together", lambda: may("owner", "govern programs") and may("owner", "get flags"))
        order = list(wanted)
        for place, role in enumerate(order[:-1]):
            for first, rights in enumerate(wanted.values()):
                for words in rights:
                    assert may(role, words) == (first <= place), f"{role}: {words}"
        assert not may("stranger", "get flags")
