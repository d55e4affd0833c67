"""The names that everything else agrees on; this module imports nothing of the program.

Devices know component names and topics, the account knows tags. After a change of one of them, this
program no longer finds the things that carry the old one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

_SERVICE, _CONSUMER, _CHECK = "xgboost", "consumer", "check"


@dataclass(frozen=True, kw_only=True)
class Names:
    """What a stack calls its three components; two stacks on a device differ in the prefix."""

    prefix: str = "com.ml"

    @property
    def service(self) -> str:
        return f"{self.prefix}.{_SERVICE}"

    @property
    def consumer(self) -> str:
        return f"{self.prefix}.{_CONSUMER}"

    @property
    def check(self) -> str:
        return f"{self.prefix}.{_CHECK}"

    @property
    def components(self) -> tuple[str, str, str]:
        """A release has one version of each."""
        return self.service, self.consumer, self.check

    @classmethod
    def among(cls, components: Collection[str]) -> tuple[Names, ...]:
        """Those of which all three are among these components, by prefix: models side by side."""
        prefixes = sorted({name.rpartition(".")[0] for name in components} - {""})
        found = (cls(prefix=prefix) for prefix in prefixes)
        return tuple(names for names in found if set(names.components) <= set(components))

    @classmethod
    def of(cls, components: Iterable[str]) -> Names:
        """Those of a release, given its components; the defaults, where it has none."""
        return next(iter(cls.among(tuple(components))), cls())


DEFAULT_NAMES = Names()
COMPONENTS = SERVICE, CONSUMER, CHECK = DEFAULT_NAMES.components


def role(component: str) -> str:
    """How the name of a stack's component ends, which says what it does."""
    return component.rpartition(".")[2]


def is_check(component: str) -> bool:
    """Whether it is the component of a stack that ends once it has seen the golden answers."""
    return role(component) == _CHECK


REQUEST_TOPIC = "local/inference"  # Pulumi.yaml and edge/inference/protocol.py have the same
ANSWER_TOPIC = "local/result"

ENGINES = ("evaluator", "xgboost")  # edge/inference/settings.py has the same; the first is default
SEVERITIES = ("critical", "high", "medium", "low")  # of what ECR's scan finds, in lower case
ARCHITECTURES = ("amd64", "aarch64")  # the words that Greengrass has for them

PROJECT_TAG, STACK_TAG = "edge-inference:project", "edge-inference:stack"
PREFIX_TAG = "edge-inference:component-prefix"  # where it isn't the default's
