"""An XGBoost model on AWS IoT Greengrass devices: the bill of materials."""

import pulumi

from infra.account.target import Target
from infra.context import Context
from infra.dynamic import OldReleases
from infra.preflight import preflight
from infra.publish import records
from infra.publish.release import Release
from infra.rollout.rollout import Rollout
from infra.settings import Settings
from infra.teardown.stack_ends import Ends

settings = Settings.load(pulumi.Config())
context = Context.find()

preflight.check_account(context)
target = Target.find(settings, context)
pinned = records.pinned(settings, context)
preflight.check(settings, context, target, pinned)
ends = Ends(settings, context, target)
release = Release.of(settings, context, pinned)
for name, value in release.outputs().items():
    pulumi.export(name, value)

answering: pulumi.Input[str] = ""
if target:
    rollout = Rollout("rollout", release=release, target=target, settings=settings, context=context)
    pulumi.export("deployment", rollout.deployment_id)
    pulumi.export("devices", list(target.devices))
    answering = rollout.deployment_id
if release.record:
    OldReleases(
        "old-releases", own=release.record, after=answering, settings=settings, context=context
    )

ends.close()
