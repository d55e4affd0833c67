"""Rules for the rights to local topics."""

from __future__ import annotations

import re
from typing import Any

from recipes.document import Recipe
from recipes.rules.register import BOTH, ERROR, GUIDE, INFO, LITE, TRIED, WARNING, Found, rule

MAX_POLICY_BYTES = 4_096


@rule("rights-mqtt-wildcard", ERROR, BOTH, f"{TRIED} (java-ipc-authz, lite-ipc-authz)")
def _rights_mqtt_wildcard(recipe: Recipe) -> Found:
    """in the rights to local topics, + and # are ordinary characters."""
    for where, resource in recipe.pubsub_resources:
        if re.search(r"[+#]", resource):
            yield where, f"write {re.sub('[+#]', '*', resource)}"


@rule("rights-question-mark", ERROR, LITE, f"{TRIED} (lite-ipc-resource-question)")
def _rights_question_mark(recipe: Recipe) -> Found:
    """Java skips a resource with a bare ?, and Lite fails the deployment."""
    for where, resource in recipe.pubsub_resources:
        if "?" in resource.replace("${?}", ""):
            yield where, "write ${?} for the letter itself"


@rule("rights-any-topic", WARNING, BOTH, f"{GUIDE}, authorization policies")
def _rights_any_topic(recipe: Recipe) -> Found:
    """a component that may use every local topic can read and imitate all the others."""
    for where, resource in recipe.pubsub_resources:
        if resource == "*":
            yield where, "name the topics"


@rule("rights-policy-id", INFO, BOTH, f"{GUIDE}, interprocess communication")
def _rights_policy_id(recipe: Recipe) -> Found:
    """a policy's id has to be unique among all components of a device."""
    component = recipe.text("ComponentName")
    for policies in recipe.policies.values():
        for name in policies:
            if not name.startswith(component):
                yield f"accessControl.{name}", f"begin it with {component}:"


@rule("rights-size", ERROR, LITE, "aws-greengrass-lite ipc_authz.c, gg/object.h")
def _rights_size(recipe: Recipe) -> Found:
    """Lite reads the policies of one service into 4,096 bytes."""
    for service, policies in recipe.policies.items():
        size = bytes_on_lite(policies)
        if size > MAX_POLICY_BYTES:
            yield f"accessControl.{service}", f"{size} bytes: join topics under one *"


def bytes_on_lite(value: Any) -> int:
    """The memory that a value takes on Nucleus Lite on a 64-bit machine.

    That is 21 bytes for each member of an object (GgKV), 11 for each item of a list (GgObject), and
    the texts themselves.
    """
    if isinstance(value, dict):
        return sum(21 + bytes_on_lite(key) + bytes_on_lite(one) for key, one in value.items())
    if isinstance(value, list):
        return sum(11 + bytes_on_lite(one) for one in value)
    return len(value.encode()) if isinstance(value, str) else 0
