"""Asks every case of the table through OpenFeature's Python SDK; a line of JSON for each."""

import json
import os
import sys

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext


def context_of(fields):
    key = fields.get("targetingKey")
    if isinstance(key, str):
        attributes = {name: value for name, value in fields.items() if name != "targetingKey"}
        return EvaluationContext(key, attributes)
    return EvaluationContext(None, fields)


def main(base, table):
    token = os.environ.get("BETAGATE_TOKEN")
    headers = (lambda: {"Authorization": f"Bearer {token}"}) if token else None
    api.set_provider(OFREPProvider(base, headers_factory=headers))
    client = api.get_client()
    ask = {
        "boolean": client.get_boolean_details,
        "string": client.get_string_details,
        "integer": client.get_integer_details,
        "float": client.get_float_details,
        "object": client.get_object_details,
    }
    with open(table, encoding="utf-8") as file:
        cases = json.load(file)["cases"]
    for case in cases:
        details = ask[case["type"]](case["flag"], case["default"], context_of(case["context"]))
        print(json.dumps({
            "name": case["name"],
            "value": details.value,
            "variant": details.variant,
            "reason": details.reason and str(details.reason.value if hasattr(details.reason, "value") else details.reason),
            "error": details.error_code and details.error_code.value,
            "message": details.error_message,
            "metadata": dict(details.flag_metadata),
        }))


main(*sys.argv[1:])
