"""The chart's admission policies on a real API server: who may say what, who may change what must never change. Users are impersonated."""

import itertools
import json

from harness import CHART, ROOT, apply, definitions, documents_of, helm, kubectl, namespace, resource, wait_for

MARTA, DARIO, DARIO_ON_CALL, EVE, ARGO = "oidc:marta", "oidc:dario", "oidc:dario-on-call", "oidc:eve", "oidc:argo"
NUMBERS = itertools.count(1)
PROGRAM = resource(
    "Program", "kruxt", timeZone="Europe/Rome", invariants=[{"flag": "billing_live", "is": False}],
    people={"founder": {"kubernetes": [MARTA]}, "ops-lead": {"kubernetes": [DARIO, DARIO_ON_CALL]}, "support": {"notify": "support@example.com"}})


def _flag(name="billing-live", key="billing_live", **more):
    spec = {"program": "kruxt", "key": key, "type": "boolean", "variants": {"on": True, "off": False}, "defaultVariant": "off"} | more
    return resource("Flag", name, **{field: value for field, value in spec.items() if value is not None})


def _word(name, by, **more):
    return resource("Signoff", name, **({"program": "kruxt", "by": by, "says": "go", "rollout": "closed-beta", "stage": "us-eu"} | more))


class _Installed:
    """The policies for a namespace, users with the right to write everything there, and the program."""

    def __init__(self, *words, program=PROGRAM, people=()):
        self.words, self.program, self.people = words, program, people

    def __enter__(self):
        definitions()
        # An API server alone never lets a namespace go: each case has one of its own.
        self.name = f"beta-{next(NUMBERS)}"
        self.controller = f"system:serviceaccount:{self.name}:betagate"
        self.space = namespace(self.name)
        self.space.__enter__()
        self.policies = helm("template", "betagate", CHART, f"--namespace={self.name}", "--set=database.existingSecret=x", "--show-only=templates/policies.yaml", *self.words).must()
        apply(self.policies).must()
        rights = [{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name, "namespace": self.name},
                   "rules": [{"apiGroups": ["betagate.dev"], "resources": ["*"], "verbs": verbs}]}
                  for name, verbs in [("writers", ["get", "list", "create", "update", "patch", "delete"]), ("owners", ["govern"])]]
        users = {"writers": [MARTA, DARIO, DARIO_ON_CALL, EVE, ARGO, *self.people, self.controller], "owners": [MARTA]}
        rights += [{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name, "namespace": self.name},
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user} for user in who]} for name, who in users.items()]
        apply(rights).must()
        # A policy holds a moment after it was applied; while there is no program, nobody can be anyone.
        wait_for("the policies to hold", lambda: not self.could_create(_word("probe", "founder")).done)
        apply([self.program], namespace=self.name).must()
        wait_for("the policies to see the program", lambda: "only founder gives" in self.could_create(_word("probe", "founder")).text)
        wait_for("the invariants to hold", lambda: not self.could_create(_flag(defaultVariant="on")).done)
        return self

    def could_create(self, document):
        """Whether the server would let Eve create it; nothing is."""
        return kubectl("create", "--dry-run=server", "-f", "-", namespace=self.name, user=EVE, stdin=json.dumps(document))

    def __exit__(self, *_):
        kubectl("delete", "-f", "-", "--wait=false", stdin=self.policies)
        self.space.__exit__(None, None, None)

    def says(self, name, user, by, **more):
        return apply([_word(name, by, **more)], namespace=self.name, user=user)

    def writes(self, user, *documents):
        return apply(list(documents), namespace=self.name, user=user)


def a_person_gives_their_own_word_and_nobody_elses():
    with _Installed() as beta:
        beta.says("marta-go", MARTA, "founder").must()
        beta.says("dario-go", DARIO, "ops-lead").must()
        beta.says("dario-on-call-go", DARIO_ON_CALL, "ops-lead").must()
        beta.says("eve-as-founder", EVE, "founder").refused("you are oidc:eve: only founder gives or takes back their word")
        beta.says("dario-as-founder", DARIO, "founder").refused("only founder gives")
        # Whom the program knows by no user of the cluster nobody is; a name it does not know is none.
        beta.says("eve-as-support", EVE, "support").refused("whom program kruxt knows no Kubernetes user of")
        beta.says("marta-as-nobody", MARTA, "mayor").refused("knows nobody named mayor")
        # Not even who may do everything speaks for another.
        apply([_word("admin-as-founder", "founder")], namespace=beta.name).refused("you are admin: only founder")
        # The controller carries what Git's authors said, whatever its marks.
        beta.says("from-git", beta.controller, "founder").must()
        # A word stays: another can't take it back, its author can.
        kubectl("delete", "signoff", "marta-go", namespace=beta.name, user=DARIO).refused("only founder gives or takes back their word")
        kubectl("delete", "signoff", "marta-go", namespace=beta.name, user=MARTA).must()
        kubectl("label", "signoff", "dario-go", "seen=yes", namespace=beta.name, user=MARTA).refused("only ops-lead")


def what_an_invariant_keeps_cannot_be_defined_otherwise_or_taken_away():
    with _Installed() as beta:
        beta.writes(EVE, _flag()).must()
        keeps = "program kruxt keeps billing_live at another value"
        beta.writes(EVE, _flag(defaultVariant="on")).refused(keeps)
        beta.writes(EVE, _flag(environments={"staging": {"defaultVariant": "on"}})).refused(keeps)
        beta.writes(EVE, _flag(schedule=[{"from": "2026-04-01", "variant": "on"}])).refused(keeps)
        beta.writes(EVE, _flag(variants={"on": True, "off": True})).refused("that none of its variants has")
        beta.writes(EVE, _flag("another-name", defaultVariant="on")).refused(keeps)
        beta.writes(EVE, _flag(key="billing_live_2", defaultVariant="on")).refused("its flag keeps its key and its program")
        beta.writes(EVE, _flag(program="other", defaultVariant="on")).refused("its flag keeps its key and its program")
        kubectl("delete", "flag", "billing-live", namespace=beta.name, user=EVE).refused("take it out of its invariants before its flag goes")
        # Everything else about it, and every other flag, is free.
        beta.writes(EVE, _flag(description="nobody is charged", environments={"staging": {"defaultVariant": "off"}})).must()
        beta.writes(EVE, _flag("other", key="other", defaultVariant="on")).must()
        # A flag whose resource is named after the key needs no key.
        kept = PROGRAM["spec"] | {"invariants": [*PROGRAM["spec"]["invariants"], {"flag": "signups", "is": "open"}]}
        beta.writes(MARTA, resource("Program", "kruxt", **kept)).must()
        words = {"type": "string", "variants": {"open": "open", "shut": "shut"}, "key": None}
        wait_for("the new invariant to hold", lambda: beta.writes(EVE, _flag("signups", defaultVariant="shut", **words)).refused("keeps signups") is None)
        beta.writes(EVE, _flag("signups", defaultVariant="open", **words)).must()


def who_is_who_and_what_must_never_change_is_for_owners():
    with _Installed() as beta:
        spec = PROGRAM["spec"]
        eve_is_founder = resource("Program", "kruxt", **spec | {"people": spec["people"] | {"founder": {"kubernetes": [MARTA, EVE]}}})
        without_invariants = resource("Program", "kruxt", **{field: value for field, value in spec.items() if field != "invariants"})
        loosened = resource("Program", "kruxt", **spec | {"invariants": [{"flag": "billing_live", "is": True}]})
        beta.writes(EVE, eve_is_founder).refused("changing it, or taking a program away, needs the verb govern")
        beta.writes(EVE, without_invariants).refused("loosening them needs the verb govern")
        beta.writes(EVE, loosened).refused("loosening them needs the verb govern")
        kubectl("delete", "program", "kruxt", namespace=beta.name, user=EVE).refused("needs the verb govern")
        # The rest of a program is for everyone who may edit programs.
        beta.writes(EVE, resource("Program", "kruxt", **spec | {"feedbackUrl": "https://example.com/feedback"})).must()
        beta.writes(EVE, resource("Program", "kruxt", **spec | {"invariants": [*spec["invariants"], {"flag": "signups", "is": False}]})).must()
        beta.writes(MARTA, eve_is_founder).must()
        wait_for("the new person to be known", lambda: beta.says("eve-go", EVE, "founder").done)
        kubectl("delete", "program", "kruxt", namespace=beta.name, user=MARTA).must()


def other_namespaces_are_left_alone():
    with _Installed(), namespace("elsewhere") as elsewhere:
        apply([PROGRAM, _word("anything", "founder")], namespace=elsewhere).must()


def who_carries_the_word_of_others_says_so():
    """Else what a tool applied would pass for what the API server let only a person give."""
    with _Installed(f"--set=policies.exemptUsers={{{ARGO}}}") as beta:
        beta.says("unmarked", ARGO, "founder").refused("you are oidc:argo, who carries the word of others: say so with the label betagate.dev/carried")
        marked = _word("marked", "founder")
        marked["metadata"]["labels"] = {"betagate.dev/carried": "git"}
        beta.writes(ARGO, marked).must()
        # What the controller recorded is marked by the controller alone.
        forged = _word("forged", "founder")
        forged["metadata"]["labels"] = {"betagate.dev/recorded": "api"}
        beta.writes(MARTA, forged).refused("the label betagate.dev/recorded is the controller's")
        beta.writes(beta.controller, forged).must()
        incident = resource("Incident", "slow", program="kruxt", severity="sev-3", title="Slow", startedAt="2026-03-03T08:00:00Z")
        incident["metadata"]["labels"] = {"betagate.dev/recorded": "api"}
        beta.writes(EVE, incident).refused("the label betagate.dev/recorded is the controller's")
        beta.writes(beta.controller, incident).must()
        kubectl("label", "incident", "slow", "betagate.dev/recorded-", namespace=beta.name, user=EVE).refused("leave it as it is")
        kubectl("patch", "incident", "slow", "--type=merge", "-p", '{"spec":{"title":"Slower"}}', namespace=beta.name, user=EVE).must()


def programs_of_one_namespace_know_their_own_people():
    other = resource("Program", "coach", timeZone="UTC", invariants=[{"flag": "billing_live", "is": True}], people={"founder": {"kubernetes": [DARIO]}, "qa": {"kubernetes": [EVE]}})
    with _Installed() as beta:
        beta.writes(MARTA, other).must()
        wait_for("the policies to see the other program", lambda: "only founder" in beta.says("probe", MARTA, "founder", program="coach").text)
        beta.says("dario-in-coach", DARIO, "founder", program="coach").must()
        beta.says("marta-in-kruxt", MARTA, "founder").must()
        beta.says("dario-in-kruxt", DARIO, "founder").refused("only founder gives")
        beta.says("eve-in-kruxt", EVE, "qa").refused("program kruxt knows nobody named qa")
        beta.says("eve-in-coach", EVE, "qa", program="coach").must()
        # Each keeps its own flags.
        wait_for("the other's invariants to hold", lambda: not beta.writes(EVE, _flag("coach-billing", program="coach")).done)
        beta.writes(EVE, _flag("coach-billing", program="coach", defaultVariant="on")).must()
        beta.writes(EVE, _flag()).must()


def the_people_of_the_example_sign_with_kubectl():
    """As docs/kubernetes.md says: an owner applies the program, each person their own words."""
    files = sorted((ROOT / "manifests/kruxt/signoffs").iterdir())
    program = next(one for one in documents_of("", ROOT / "manifests/kruxt/program.yaml") if one["kind"] == "Program")
    users = {name: person.get("kubernetes", []) for name, person in program["spec"]["people"].items()}
    with _Installed(program=program, people=sorted({user for known in users.values() for user in known} - {MARTA, DARIO})) as beta:
        said = kubectl("apply", "-f", ROOT / "manifests/kruxt", "-f", ROOT / "flags", namespace=beta.name, user=MARTA)
        assert said.done, said.text
        for file in files:
            (user, *_) = users[file.stem]
            kubectl("apply", "-f", file, namespace=beta.name, user=EVE).refused(f"only {file.stem} gives")
            kubectl("apply", "-f", file, namespace=beta.name, user=user).must()
        given = json.loads(kubectl("get", "signoffs", "-o", "json", namespace=beta.name).must())["items"]
        assert len(given) == 11 and {one["spec"]["by"] for one in given} == {file.stem for file in files}
