"""The first and the last word of a destroy: whether it may begin, and what it has left.

Pulumi destroys backwards. So `Residue` is made before everything else, and `NobodyFollows` after
everything else: a destroy that is refused has touched nothing, not even this stack's own devices.
Both are dynamic resources, whose delete runs under a bare `pulumi destroy`; `Ends` puts all other
resources between them.
"""

from __future__ import annotations

import pulumi

from infra.account.target import Target
from infra.context import Context
from infra.dynamic import NobodyFollows, Residue
from infra.settings import Settings


class Ends:
    """The two ends of a stack: whatever it makes from now on, it makes between them."""

    def __init__(self, settings: Settings, context: Context, target: Target | None) -> None:
        self._settings = settings
        self._stack = context.props | {"target": target.arn if target else ""}
        self._between: list[pulumi.Resource] = []
        self._residue: Residue | None = None
        pulumi.runtime.register_stack_transformation(self._put_between)

    def close(self) -> None:
        """Nothing is made after this. A stack that has published nothing can't be followed."""
        if not self._settings.release_from:
            NobodyFollows(self._stack, pulumi.ResourceOptions(depends_on=list(self._between)))

    def _put_between(
        self, args: pulumi.ResourceTransformationArgs
    ) -> pulumi.ResourceTransformationResult | None:
        made = isinstance(args.resource, pulumi.CustomResource)
        if not made or isinstance(args.resource, Residue | pulumi.StackReference):
            return None
        if self._residue is None:  # now, and no earlier: an `up` may be refused until here
            self._residue = Residue(self._stack | {"role": self._settings.device_role})
        self._between.append(args.resource)
        after = pulumi.ResourceOptions(depends_on=[self._residue])
        return pulumi.ResourceTransformationResult(
            args.props, pulumi.ResourceOptions.merge(args.opts, after)
        )
