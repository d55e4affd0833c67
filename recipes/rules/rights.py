"""Rules for the rights to local topics."""

from __future__ import annotations

import json
import re

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


@rule("rights-size", ERROR, LITE, f"{TRIED}; aws-greengrass-lite, policy buffer")
def _rights_size(recipe: Recipe) -> Found:
    """Lite reads the policies of one service into 4,096 bytes."""
    for service, policies in recipe.policies.items():
        size = len(json.dumps(policies, separators=(",", ":")).encode())
        if size > MAX_POLICY_BYTES:
            yield f"accessControl.{service}", f"{size} bytes: join topics under one *"
