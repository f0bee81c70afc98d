"""Answers cases, one JSON line each, as openfeature-flagd-core does."""

import contextlib
import io
import json
import logging
import sys

from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import OpenFeatureError


def answer(case):
    context = case["context"]
    person = context.pop("targetingKey", None)
    core = FlagdCore()
    try:
        core.set_flags(case["flags"])
        ask = getattr(core, f"resolve_{case['type']}_value")
        given = ask(case["key"], None, EvaluationContext(person, context))
    except OpenFeatureError as error:
        return {"errorCode": error.error_code.value}
    except Exception:  # an SDK reports whatever a provider throws as GENERAL
        return {"errorCode": "GENERAL"}
    return {"value": given.value, "variant": given.variant or "", "reason": given.reason}


logging.disable()
for line in sys.stdin:
    with contextlib.redirect_stdout(io.StringIO()):  # the operator `log` writes there
        given = answer(json.loads(line))
    print(json.dumps(given))
