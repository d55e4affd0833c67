"""How a stack calls its deployments, and which stack made one, by its name.

edge-inference/dev                     a release
edge-inference/dev (after 1b9d6bcd)    deployed again, as a changed name makes Pulumi deploy
without edge-inference/dev             a destroy that took our components off
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class DeploymentName:
    """The name of a deployment that a stack of this program makes."""

    project: str
    stack: str
    followed: str = ""  # how the id of the deployment begins that this one came after
    removes: bool = False  # by an uninstall

    def __str__(self) -> str:
        name = f"{self.project}/{self.stack}"
        if self.removes:
            return f"without {name}"
        return f"{name} (after {self.followed})" if self.followed else name

    @classmethod
    def parse(cls, name: str, *, project: str) -> DeploymentName | None:
        """The same from its text; None for a name that no stack of the project gives."""
        of_stack = rf"{re.escape(project)}/(?P<stack>[a-z0-9-]+)"
        found = re.fullmatch(
            rf"(?P<removes>without )?{of_stack}( \(after (?P<followed>[^)]*)\))?", name
        )
        if not found or (found["removes"] and found["followed"]):
            return None
        return cls(
            project=project,
            stack=found["stack"],
            followed=found["followed"] or "",
            removes=bool(found["removes"]),
        )

    def after(self, deployment: str) -> DeploymentName:
        """What the stack calls the deployment that comes after the one with that id."""
        return replace(self, followed=deployment[:8])

    @property
    def without(self) -> DeploymentName:
        """What the stack calls the deployment that takes our components off."""
        return replace(self, followed="", removes=True)

    def is_own(self, name: str) -> bool:
        """Whether this stack calls one so: what it deployed, or what its uninstall did."""
        made = DeploymentName.parse(name, project=self.project)
        return made is not None and made.stack == self.stack

    def is_removal(self, name: str) -> bool:
        """Whether a stack of the same project calls so what takes its components off."""
        made = DeploymentName.parse(name, project=self.project)
        return made is not None and made.removes

    def another_stack(self, name: str) -> str:
        """The other stack of the same project that calls a release so, else empty."""
        stack = stack_of(self.project, name)
        return stack if stack != self.stack else ""


def stack_of(project: str, name: str) -> str:
    """Which stack of the project calls a release so, empty where none does."""
    made = DeploymentName.parse(name, project=project)
    return made.stack if made and not made.removes else ""
