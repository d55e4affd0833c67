"""An XGBoost model on AWS IoT Greengrass devices: the bill of materials."""

import pulumi

from infra import preflight
from infra.clients import Clients
from infra.destroy import Ends
from infra.release import Release
from infra.rollout import Rollout
from infra.settings import Place, Settings
from infra.target import Target

settings = Settings.load(pulumi.Config())
place = Place.find()
clients = Clients(region=place.region, profile=place.profile)

target = Target.find(settings, clients)
preflight.check(settings, place, clients, target)
ends = Ends(settings, place, target)
release = Release.of(settings, place, clients)
for name, value in release.outputs().items():
    pulumi.export(name, value)

if target:
    rollout = Rollout("rollout", release=release, target=target, settings=settings, place=place)
    pulumi.export("deployment", rollout.deployment_id)
    pulumi.export("devices", list(target.devices))

ends.close()
