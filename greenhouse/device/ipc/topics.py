"""Publish and subscribe inside one device: who gets which message.

Wildcards in a *subscription* are MQTT's. Without `receiveMode`, a subscription with a wildcard
doesn't see the component's own messages. A subscription without a wildcard does (nucleus 2.6.0 and
later).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Deliver = Callable[[bytes], None]


@dataclass(frozen=True, eq=False)
class Subscription:
    """One component's open stream on a topic filter."""

    component: str
    topic: str
    from_others_only: bool
    deliver: Deliver


class Topics:
    """The subscriptions of all connections."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []

    def subscribe(self, subscription: Subscription) -> None:
        self._subscriptions.append(subscription)

    def unsubscribe(self, subscription: Subscription) -> None:
        self._subscriptions.remove(subscription)

    def publish(self, topic: str, payload: bytes, *, sender: str) -> None:
        """Give the message to every matching subscription, in the order in which they were made."""
        for subscription in list(self._subscriptions):
            own = subscription.from_others_only and subscription.component == sender
            if not own and matches(subscription.topic, topic):
                subscription.deliver(payload)


def has_wildcard(topic: str) -> bool:
    """Whether a topic filter has a level of MQTT's `+` or `#`."""
    return any(level in ("+", "#") for level in topic.split("/"))


def matches(wanted: str, topic: str) -> bool:
    """MQTT's rule: `+` is one level, and a final `#` is the rest, which may be empty."""
    levels, found = wanted.split("/"), topic.split("/")
    for index, level in enumerate(levels):
        if level == "#":
            return True
        if index >= len(found) or level not in ("+", found[index]):
            return False
    return len(levels) == len(found)
