"""Who may do what on which topic: the `accessControl` of a component's configuration.

    {"aws.greengrass.ipc.pubsub": {"<policy id>": {"operations": […], "resources": […]}}}

`*` in a resource stands for any characters, slashes included. MQTT's `+` and `#` are plain
characters here. `${*}`, `${?}` and `${$}` are the characters themselves. A bare `?` is invalid, and
the nucleus then leaves the whole policy out. Nothing else in a resource is expanded. All of this
was observed: conformance java-ipc-authz, java-ipc-resource-question.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

PUBSUB = "aws.greengrass.ipc.pubsub"

_PART = re.compile(r"\$\{([*?$])\}|(\*)|(\?)|(.)", re.DOTALL)


def allows(access_control: Any, *, service: str, operation: str, resource: str) -> bool:
    """Whether any policy of the service allows the operation on the resource."""
    return any(
        (operation in operations or "*" in operations)
        and any(pattern.fullmatch(resource) for pattern in patterns)
        for operations, patterns in _policies(access_control, service)
    )


def invalid_resources(access_control: Any) -> list[str]:
    """Resources of any service that no nucleus takes."""
    services = access_control.values() if isinstance(access_control, dict) else ()
    policies = (
        one for service in services if isinstance(service, dict) for one in service.values()
    )
    listed = (one.get("resources") for one in policies if isinstance(one, dict))
    resources = (one for some in listed if isinstance(some, list) for one in some)
    return [one for one in resources if isinstance(one, str) and _pattern(one) is None]


def _policies(
    access_control: Any, service: str
) -> Iterator[tuple[list[str], list[re.Pattern[str]]]]:
    policies = access_control.get(service) if isinstance(access_control, dict) else None
    for policy in policies.values() if isinstance(policies, dict) else ():
        if not isinstance(policy, dict):
            continue
        operations, resources = policy.get("operations"), policy.get("resources")
        if isinstance(operations, list) and isinstance(resources, list):
            patterns = [_pattern(str(resource)) for resource in resources]
            if None not in patterns:
                yield operations, [pattern for pattern in patterns if pattern is not None]


def _pattern(resource: str) -> re.Pattern[str] | None:
    """The pattern of a resource, or None if the nucleus finds it invalid."""
    parts = []
    for escaped, anything, invalid, plain in _PART.findall(resource):
        if invalid:
            return None
        parts.append(".*" if anything else re.escape(escaped or plain))
    return re.compile("".join(parts), re.DOTALL)
