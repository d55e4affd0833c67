"""Names of a stack's deployments: makes them, and tells from a name which stack made it.

edge-inference/dev                     a release
edge-inference/dev (after 1b9d6bcd)    deployed again: a changed name makes Pulumi deploy
without edge-inference/dev             a destroy that removed our components
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class DeploymentName:
    """The name of a deployment that a stack of this program makes."""

    project: str
    stack: str
    followed: str = ""  # The first digits of the previous deployment's id.
    removes: bool = False  # An uninstall made it.

    def __str__(self) -> str:
        name = f"{self.project}/{self.stack}"
        if self.removes:
            return f"without {name}"
        return f"{name} (after {self.followed})" if self.followed else name

    @classmethod
    def parse(cls, name: str, *, project: str) -> DeploymentName | None:
        """Parse a name; None if no stack of the project makes such a name."""
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
        """The name of the stack's next deployment, after the deployment with this id."""
        return replace(self, followed=deployment[:8])

    @property
    def without(self) -> DeploymentName:
        """The name of the deployment that removes the stack's components."""
        return replace(self, followed="", removes=True)

    def is_own(self, name: str) -> bool:
        """Whether this stack made the deployment, for a release or an uninstall."""
        made = DeploymentName.parse(name, project=self.project)
        return made is not None and made.stack == self.stack

    def is_removal(self, name: str) -> bool:
        """Whether a stack of the project made the deployment to remove its components."""
        made = DeploymentName.parse(name, project=self.project)
        return made is not None and made.removes

    def another_stack(self, name: str) -> str:
        """The other stack of the project that deployed a release by this name, else ""."""
        stack = stack_of(self.project, name)
        return stack if stack != self.stack else ""


def stack_of(project: str, name: str) -> str:
    """The stack of the project that deployed a release by this name, else ""."""
    made = DeploymentName.parse(name, project=project)
    return made.stack if made and not made.removes else ""
