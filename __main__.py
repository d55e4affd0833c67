"""An XGBoost model on AWS IoT Greengrass devices: the bill of materials."""

import pulumi

from infra.account.context import Context
from infra.account.target import Target
from infra.dynamic import NobodyFollows, Residue
from infra.preflight import preflight
from infra.publish import release_records
from infra.resources import Artifacts, Components, Handover, Providers, Registry, Release, Rollout
from infra.settings import Settings

settings = Settings.load(pulumi.Config())
context = Context.find(settings.component_prefix)
residue = Residue(context, settings)  # made first, so destroyed last
inside = Providers.of(context, after=residue).options
target = Target.find(settings, context)
pinned = release_records.pinned(settings, context)
preflight.check(settings, context, target, pinned)
handover = None if settings.release_from else Handover.read(settings)

made: list[pulumi.Resource] = [residue]
if handover:
    registry = Registry("registry", settings=settings, context=context, opts=inside)
    artifacts = Artifacts("artifacts", files=handover.files, context=context, opts=inside)
    components = Components(
        "components", registry, artifacts, settings=settings, context=context, opts=inside
    )
    release = Release.published(handover, registry, artifacts, components, settings, context)
    made += [registry, artifacts, components]
if pinned or settings.release_from:
    release = Release.stored(pinned, settings, context)
for name, value in release.outputs().items():
    pulumi.export(name, value)
if target:  # Rollout declares the read rights, the deployment, and the wait for the answers.
    rollout = Rollout(
        "rollout", release=release, target=target, settings=settings, context=context, opts=inside
    )
    pulumi.export("deployment", rollout.answers.deployment)
    pulumi.export("devices", list(target.devices))
    made.append(rollout)
if handover:
    NobodyFollows(context, target, opts=pulumi.ResourceOptions(depends_on=made))
