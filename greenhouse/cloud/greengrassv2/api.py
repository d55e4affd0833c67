"""Routes each operation to the function that answers it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from greenhouse.cloud.calls import Answer, ClientTokens, Request, drop_tags, put_tags, tags_of
from greenhouse.cloud.errors import (
    ApiError,
    ResourceNotFoundException,
    injected,
    not_modelled,
)
from greenhouse.cloud.greengrassv2.components import Components
from greenhouse.cloud.greengrassv2.deployments import Deployments, deployment_arn
from greenhouse.cloud.greengrassv2.devices import Devices, device_arn
from greenhouse.cloud.iot_and_s3 import IotAndS3
from greenhouse.cloud.service_shapes import ServiceShapes
from greenhouse.cloud.store import Store
from greenhouse.faults import Faults

log = logging.getLogger(__name__)

_READS = ("Get", "List", "Describe", "Resolve")

_TAGGABLE = """
SELECT 1 FROM component WHERE arn = :arn
UNION ALL SELECT 1 FROM deployment WHERE :deployments || id = :arn
UNION ALL SELECT 1 FROM device WHERE :devices || thing = :arn
"""


class Api:
    """The operations of greengrassv2 that greenhouse models."""

    def __init__(
        self, store: Store, iot_and_s3: IotAndS3, shapes: ServiceShapes, faults: Faults
    ) -> None:
        self._store, self._shapes, self._faults = store, shapes, faults
        tokens = ClientTokens(store)
        components = Components(store, iot_and_s3, tokens, faults)
        deployments = Deployments(store, iot_and_s3, tokens)
        self.devices = Devices(store, iot_and_s3, shapes, deployments)
        self._operations: Mapping[str, Callable[[Request], Answer]] = {
            "CreateComponentVersion": components.create_version,
            "GetComponent": components.get,
            "DescribeComponent": components.describe,
            "ListComponents": components.list_names,
            "ListComponentVersions": components.list_versions,
            "DeleteComponent": components.delete,
            "ResolveComponentCandidates": components.resolve,
            "CreateDeployment": deployments.create,
            "GetDeployment": deployments.get,
            "ListDeployments": deployments.list_deployments,
            "CancelDeployment": deployments.cancel,
            "DeleteDeployment": deployments.delete,
            "GetCoreDevice": self.devices.get,
            "ListCoreDevices": self.devices.list_devices,
            "DeleteCoreDevice": self.devices.delete,
            "ListEffectiveDeployments": self.devices.list_effective,
            "ListInstalledComponents": self.devices.list_installed,
            "TagResource": self._tag,
            "UntagResource": self._untag,
            "ListTagsForResource": self._list_tags,
        }

    def answer(self, operation: str, request: Request) -> Answer:
        """Run the operation, and log one line for the operator if something may have changed."""
        if operation not in self._operations:
            raise not_modelled(operation)
        self._faults.crash("crash-before", operation)
        if error := self._faults.error(operation):
            raise injected(error)
        answer = self._do(operation, request)
        self._faults.crash("crash-after", operation)
        return answer

    def call(self, operation: str, request: Request) -> Answer:
        """Run it for Cloud Control: the request is checked as if it had come by HTTP."""
        shape = self._shapes.operation(operation).input_shape
        checked = self._shapes.check(shape.name, request) if shape else {}
        return self.answer(operation, checked)

    def _do(self, operation: str, request: Request) -> Answer:
        if operation.startswith(_READS):
            return self._operations[operation](request)
        try:
            answer = self._operations[operation](request)
        except ApiError as error:
            log.info("%s %s: %s: %s", operation, _subject(request), type(error).__name__, error)
            raise
        log.info("%s %s", operation, _subject({**request, **answer}))
        return answer

    def _tag(self, request: Request) -> Answer:
        with self._store.transaction() as db:
            put_tags(db, _taggable(db, request["resourceArn"]), request["tags"])
        return {}

    def _untag(self, request: Request) -> Answer:
        with self._store.transaction() as db:
            drop_tags(db, _taggable(db, request["resourceArn"]), request["tagKeys"])
        return {}

    def _list_tags(self, request: Request) -> Answer:
        with self._store.transaction() as db:
            return {"tags": tags_of(db, _taggable(db, request["resourceArn"]))}


def _taggable(db: sqlite3.Connection, arn: str) -> str:
    """The ARN, if it names a component version, a deployment or a core device of this account."""
    names = {"arn": arn, "deployments": deployment_arn(""), "devices": device_arn("")}
    if not db.execute(_TAGGABLE, names).fetchone():
        raise ResourceNotFoundException(
            f"There is no resource {arn} to tag", resource_id=arn, resource_type="Resource"
        )
    return arn


def _subject(values: Mapping[str, Any]) -> str:
    """What a call was about, for the log: no recipe, no configuration."""
    names = (
        "deploymentId",
        "targetArn",
        "arn",
        "resourceArn",
        "coreDeviceThingName",
    )
    parts = [str(values[name]) for name in names if name in values]
    parts += [
        f"{name}={component['componentVersion']}"
        for name, component in values.get("components", {}).items()
    ]
    return " ".join(parts) or "-"
