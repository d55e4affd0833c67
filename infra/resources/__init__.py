"""The resources of a stack, which `__main__.py` registers."""

from infra.resources.artifacts import Artifacts, Handover
from infra.resources.components import Components
from infra.resources.providers import Providers
from infra.resources.registry import Registry
from infra.resources.release import Release
from infra.resources.rollout import Rollout

__all__ = [
    "Artifacts",
    "Components",
    "Handover",
    "Providers",
    "Registry",
    "Release",
    "Rollout",
]
