"""What betagate does while a part of the cluster is away: the API server, room in its etcd, fields of a definition."""

import json
import time

from harness import ROOT, apply, documents_of, kubectl, wait_for
from own_server import beta, filler, own_server

# Longer than a Lease runs without being renewed.
OUTAGE = 20


def an_api_server_that_is_away_delays_no_freeze_and_costs_nobody_the_lead():
    with own_server() as server, beta("away") as one:
        leader = one.controller("first")
        one.applied()
        other = one.controller("second")
        wait_for("the other to wait", lambda: "another leads" in other.says())
        before = one.lease()
        server.stop()
        stopped = time.monotonic()
        one.down()
        wait_for("the freeze, which lies in the database", one.frozen, 15)
        wait_for("the flag to be served safe", lambda: one.served("new-feed") == "off", 15)
        # About the time of a Lease, which no injected clock can shorten for two processes and a server.
        time.sleep(max(0.0, OUTAGE - (time.monotonic() - stopped)))
        assert leader.runs() and other.runs()
        server.start()
        one.caught_up()
        assert one.lease() == before, "the one that led goes on"
        assert leader.runs() and other.runs()
        assert "this controller leads" not in other.says()


def a_leader_that_is_asked_to_end_hands_over_at_once():
    with own_server(), beta("handover") as one:
        leader = one.controller("first")
        one.applied()
        other = one.controller("second")
        wait_for("the other to wait", lambda: "another leads" in other.says())
        _, transitions = one.lease()
        assert leader.asked_to_end() == 0
        # Without having given it back, fifteen seconds would pass; the other looks every three.
        wait_for("the other to lead", lambda: one.lease() == ("second", transitions + 1), 10)
        one.down()
        one.caught_up()


def an_etcd_that_is_full_delays_no_freeze_and_what_was_refused_is_written_later():
    with own_server() as server, beta("full") as one:
        leader = one.controller("first")
        one.applied()
        blocks = []
        for n in range(60):
            block = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"block-{n}"}, "data": {"block": filler()}}
            if not apply([block], namespace="default", server_side=True).done:
                break
            blocks.append(f"block-{n}")
        refused = kubectl("create", "configmap", "one-more", namespace="default")
        refused.refused("space exceeded")
        one.down()
        wait_for("the freeze, which lies in the database", one.frozen, 15)
        wait_for("the flag to be served safe", lambda: one.served("new-feed") == "off", 15)
        assert one.state("flag/new-feed") == "Served", "what can be read is as it was written last"
        wait_for("it to be said", lambda: "it is tried again" in leader.says() or "can't be renewed" in leader.says())
        assert leader.runs()
        kubectl("delete", "configmap", *blocks, namespace="default").must()
        revision = server.etcd("kv/range", key="AA==")["header"]["revision"]
        server.etcd("kv/compaction", revision=revision, physical=True)
        server.etcd("maintenance/defragment")
        for alarm in server.etcd("maintenance/alarm", action="GET").get("alarms", []):
            server.etcd("maintenance/alarm", action="DEACTIVATE", memberID=alarm["memberID"], alarm=alarm["alarm"])
        one.caught_up()
        assert leader.runs()


def a_definition_that_lost_fields_takes_nothing_back_and_is_told():
    [whole] = documents_of("", ROOT / "crds/flags.yaml")
    with own_server(), beta("fields") as one:
        first = one.controller("first")
        one.applied()
        for field, of in (("variants", "spec"), ("summary", "status")):
            schema = whole["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][of]
            schema["properties"].pop(field)
            schema["required"] = [name for name in schema.get("required", []) if name != field]
        less = kubectl("replace", "-f", "-", stdin=json.dumps({key: value for key, value in whole.items() if key != "status"}))
        less.must()
        wait_for("the definition without the fields to be served", lambda: "variants" not in one.read("flag/new-feed")["spec"])
        kubectl("patch", "flag", "new-feed", "--type=merge", '-p={"spec":{"description":"the new feed"}}', namespace=one.space).must()

        def told():
            ready = one.condition("flag/new-feed", "Accepted")
            return ready and ready[0] == "False" and "variants" in ready[2] and "what it said before goes on" in ready[2]

        wait_for("the flag to say what it lacks", told)
        assert one.served("new-feed") == "on" and first.runs()
        # Also after a new start: what was accepted lies in the database.
        first.asked_to_end()
        second = one.controller("second")
        wait_for("the next to lead", lambda: one.lease()[0] == "second")
        one.down()
        wait_for("the freeze", one.frozen)
        wait_for("the flag to be served safe", lambda: one.served("new-feed") == "off")
        assert told() and second.runs()
        kubectl("apply", "--server-side", "--force-conflicts", "-f", ROOT / "crds/flags.yaml").must()
        variants = {"spec": {"variants": {"on": True, "off": False}}}
        wait_for("the fields to be served again", lambda: kubectl("patch", "flag", "new-feed", "--type=merge", f"-p={json.dumps(variants)}", namespace=one.space).done
                 and "variants" in one.read("flag/new-feed")["spec"])
        one.caught_up()
