"""The chart, as Helm sees it: what it renders, what it refuses. Nothing is installed here."""

from harness import CHART, ROOT, apply, definitions, documents_of, helm, namespace, run

GIVEN = "--set=database.existingSecret=beta-database"
EVERYTHING = [GIVEN, "--set=metrics.serviceMonitor.enabled=true,metrics.rules.enabled=true", "--set=controller.probe=http://api:8081,controller.environment=staging",
              "--set=git.url=https://git.example.com/beta.git,git.branch=main,git.path=beta,git.existingSecret=beta-git,secrets.existingSecret=beta-secrets"]


def _rendered(*words):
    """The documents, by kind and name."""
    text = helm("template", "betagate", CHART, "--namespace=beta", *words).must()
    return {(item["kind"], item["metadata"]["name"]): item for item in documents_of(text)}


def lint_finds_nothing():
    for words in ([GIVEN], EVERYTHING, ["--set=database.trial.enabled=true"]):
        helm("lint", "--strict", CHART, *words).must()


def the_definitions_are_those_of_the_repository():
    rendered = _rendered(GIVEN)
    own = {name: item["spec"] for (kind, name), item in rendered.items() if kind == "CustomResourceDefinition"}
    wanted = {item["metadata"]["name"]: item["spec"] for item in documents_of("", ROOT / "crds")}
    assert len(wanted) == 12 and own == wanted, sorted(set(own) ^ set(wanted))
    kept = [item["metadata"]["annotations"].get("helm.sh/resource-policy") for (kind, _), item in rendered.items() if kind == "CustomResourceDefinition"]
    assert kept == ["keep"] * 12, "what was applied must outlive the release"


def values_that_make_no_sense_are_refused():
    helm("template", "betagate", CHART).refused("no database: name a Secret")
    for words, said in [("controller.replicas=many", "controller/replicas"), ("controler.replicas=3", "controler"), ("image.pullPolicy=Sometimes", "image/pullPolicy"),
                        ("image.digest=abc", "image/digest"), ("database.existingSecret=Not_A_Name", "database/existingSecret"), ("git.drift=sometimes", "git/drift")]:
        helm("template", "betagate", CHART, GIVEN, f"--set={words}").refused(said)


def an_api_server_takes_all_of_it():
    definitions()
    documents = helm("template", "betagate", CHART, "--namespace=beta-dry", *EVERYTHING, "--set=metrics.serviceMonitor.enabled=false,metrics.rules.enabled=false").must()
    with namespace("beta-dry"):
        said = run("kubectl", "apply", "--server-side", "--dry-run=server", "--namespace=beta-dry", "-f", "-", stdin=documents)
        assert said.done and "Warning" not in said.text, said.text


def pods_pass_the_restricted_profile():
    definitions()
    documents = helm("template", "betagate", CHART, "--namespace=beta-strict", "--set=database.trial.enabled=true").must()
    with namespace("beta-strict", **{"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}):
        # A Deployment is only warned about; its pod template as a pod is refused.
        said = apply(documents, namespace="beta-strict")
        assert said.done and "would violate" not in said.text, said.text


def the_controllers_rights_are_those_of_its_namespace_and_no_wildcard():
    rendered = _rendered(GIVEN)
    bindings = [item for (kind, _), item in rendered.items() if kind == "ClusterRoleBinding"]
    assert [binding["roleRef"]["name"] for binding in bindings] == ["betagate-beta-policies"], "nothing else is bound to the controller beyond its namespace"
    beyond = rendered["ClusterRole", "betagate-beta-policies"]["rules"]
    assert [(rule["verbs"], rule["resourceNames"]) for rule in beyond] == [(["get"], ["betagate-beta-signoffs", "betagate-beta-carried"])], beyond
    without = _rendered(GIVEN, "--set=policies.enabled=false")
    assert not [name for kind, name in without if kind.startswith("ClusterRoleBinding")], "without policies there is nothing to look at"
    roles = [item for (kind, name), item in rendered.items() if kind == "Role"]
    assert [role["metadata"]["name"] for role in roles] == ["betagate-controller"]
    for rule in roles[0]["rules"]:
        assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"], rule
        if "secrets" in rule["resources"]:
            assert set(rule["verbs"]) <= {"get", "list", "watch"}, rule
        assert not set(rule["verbs"]) & {"escalate", "bind", "impersonate", "govern"}, rule


def what_commands_need_is_there_unless_they_are_turned_off():
    def rights(rendered):
        return {(kind, verb) for rule in rendered["Role", "betagate-controller"]["rules"] for kind in rule["resources"] for verb in rule["verbs"]}

    needed = {("serviceaccounts", "get"), ("pods/log", "get"), ("events", "list")}
    on, off = _rendered(GIVEN, "--set=jobs.image=registry.example.com/tools:1"), _rendered(GIVEN, "--set=jobs.enabled=false")
    assert needed <= rights(on) and not needed & rights(off), rights(off)
    account = on["ServiceAccount", "betagate-jobs"]
    assert account["automountServiceAccountToken"] is False and account["metadata"]["labels"]["betagate.dev/jobs"] == "allowed", account
    bound = [subject["name"] for (kind, _), item in on.items() if kind.endswith("RoleBinding") for subject in item["subjects"]]
    assert "betagate-jobs" not in bound, "it has no rights"
    env = [{one["name"]: one.get("value") for one in rendered["Deployment", "betagate-controller"]["spec"]["template"]["spec"]["containers"][0]["env"]} for rendered in (on, off)]
    assert env[0]["BETAGATE_JOB_ACCOUNT"] == "betagate-jobs" and env[0]["BETAGATE_JOB_IMAGE"] == "registry.example.com/tools:1"
    assert "BETAGATE_JOBS" not in env[0] and {name: value for name, value in env[1].items() if name.startswith("BETAGATE_JOB")} == {"BETAGATE_JOBS": "off"}
    assert ("ServiceAccount", "betagate-jobs") not in off


def the_installations_own_secrets_are_withheld_from_what_documents_describe():
    def withheld(*words):
        env = _rendered(*words)["Deployment", "betagate-controller"]["spec"]["template"]["spec"]["containers"][0]["env"]
        return [one["value"] for one in env if one["name"] == "BETAGATE_WITHHELD_SECRETS"]

    # Those with the database and the keys, a trial's too, are named beside them.
    assert withheld(GIVEN) == []
    assert withheld(*EVERYTHING, "--set=imagePullSecrets[0].name=registry") == ["beta-secrets,beta-git,registry"]


def what_git_needs_is_there_only_with_git():
    def written(rendered):
        rules = rendered["Role", "betagate-controller"]["rules"]
        return {kind for rule in rules if {"create", "delete"} <= set(rule["verbs"]) and rule["apiGroups"] == ["betagate.dev"] for kind in rule["resources"]}

    without, git = _rendered(GIVEN), _rendered(*EVERYTHING)
    # What came in over HTTP is written as a resource in any case.
    assert written(without) == {"incidents", "signoffs"}, written(without)
    assert len(written(git)) == 11 and "rollbacks" not in written(git), written(git)
    pods = [rendered["Deployment", "betagate-controller"]["spec"]["template"]["spec"] for rendered in (without, git)]
    words = [" ".join(pod["containers"][0]["args"]) for pod in pods]
    assert "--git" not in words[0] and "--drift" not in words[0]
    assert "--git=https://git.example.com/beta.git --drift=put-back --branch=main --path=beta" in words[1], words[1]
    volumes = [{volume["name"]: volume for volume in pod["volumes"]} for pod in pods]
    assert "secrets" not in volumes[0]
    assert volumes[1]["secrets"]["projected"]["sources"] == [{"secret": {"name": "beta-secrets"}}, {"secret": {"name": "beta-git", "items": [{"key": "token", "path": "git-token"}]}}]
