"""The names that all parts share. This module imports nothing of the program.

Devices have component names and topics, the account has tags. If one of these names changes, the
program no longer finds what has the old name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

_SERVICE, _CONSUMER, _CHECK = "xgboost", "consumer", "check"


@dataclass(frozen=True, kw_only=True)
class Names:
    """The names of a stack's three components. Stacks that share a device differ in the prefix."""

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
        """All three. A release has one version of each."""
        return self.service, self.consumer, self.check

    @classmethod
    def among(cls, components: Collection[str]) -> tuple[Names, ...]:
        """The stacks' names of which all three are among these components, ordered by prefix."""
        prefixes = sorted({name.rpartition(".")[0] for name in components} - {""})
        found = (cls(prefix=prefix) for prefix in prefixes)
        return tuple(names for names in found if set(names.components) <= set(components))

    @classmethod
    def tagged(cls, tags: Mapping[str, str]) -> Names:
        """Those of the stack that gave something in the account these tags."""
        return cls(prefix=tags.get(PREFIX_TAG, cls.prefix))

    @classmethod
    def of(cls, components: Iterable[str]) -> Names:
        """The names in a release's components; the default names if it has none."""
        return next(iter(cls.among(tuple(components))), cls())


DEFAULT_NAMES = Names()
COMPONENTS = SERVICE, CONSUMER, CHECK = DEFAULT_NAMES.components


def role(component: str) -> str:
    """The last part of a component's name, which says what the component does."""
    return component.rpartition(".")[2]


def is_check(component: str) -> bool:
    """Whether it is a stack's check, which ends after it has seen the golden answers."""
    return role(component) == _CHECK


REQUEST_TOPIC = "local/inference"  # The same as in Pulumi.yaml and edge/inference/protocol.py.
ANSWER_TOPIC = "local/result"

# The same as in edge/inference/settings.py. The first is the default.
ENGINES = ("evaluator", "xgboost")
SEVERITIES = ("critical", "high", "medium", "low")  # ECR's words, in lower case.
ARCHITECTURES = ("amd64", "aarch64")  # Greengrass's words.

PROJECT_TAG, STACK_TAG = "edge-inference:project", "edge-inference:stack"
# The tag is set only if the prefix isn't the default.
PREFIX_TAG = "edge-inference:component-prefix"
