"""An XGBoost model on AWS IoT Greengrass devices: the bill of materials."""

import pulumi

from infra.account.clients import Clients
from infra.account.target import Target
from infra.dynamic import OldReleases
from infra.preflight import preflight
from infra.publish import records
from infra.publish.release import Release
from infra.rollout.rollout import Rollout
from infra.settings import Place, Settings
from infra.teardown.stack_ends import Ends

settings = Settings.load(pulumi.Config())
place = Place.find()
clients = Clients(region=place.region, profile=place.profile)

preflight.check_account(place, clients)
target = Target.find(settings, clients)
pinned = records.pinned(settings, place, clients)
preflight.check(settings, place, clients, target, pinned)
ends = Ends(settings, place, target)
release = Release.of(settings, place, clients, pinned)
for name, value in release.outputs().items():
    pulumi.export(name, value)

answering: pulumi.Input[str] = ""
if target:
    rollout = Rollout(
        "rollout", release=release, target=target, settings=settings, place=place, clients=clients
    )
    pulumi.export("deployment", rollout.deployment_id)
    pulumi.export("devices", list(target.devices))
    answering = rollout.deployment_id
if release.record:
    OldReleases("old-releases", own=release.record, after=answering, settings=settings, place=place)

ends.close()
