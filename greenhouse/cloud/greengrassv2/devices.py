"""Core devices: what they last reported, and the side of the API that only they use.

A thing becomes a core device by its first report. Before it, GetCoreDevice knows nothing of the
thing. The API shows the last report, however old it is: AWS says the same of its own answers.

Real devices talk to AWS by shadows (for things), jobs (for groups) and fleet status over MQTT.
greenhouse doesn't model that. It has one long poll for deployments and one report instead, see
`server`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import time
from collections.abc import Mapping
from typing import Any

from greenhouse.cloud.calls import Answer, Request, drop_tags, page, tags_of
from greenhouse.cloud.errors import ResourceNotFoundException, ValidationException
from greenhouse.cloud.greengrassv2.deployments import (
    GROUP_ENDS,
    THING_ENDS,
    Deployments,
    roll_out,
    settle,
)
from greenhouse.cloud.iot_and_s3 import IotAndS3, Target, parse_target, thing_arn
from greenhouse.cloud.service_shapes import ServiceShapes
from greenhouse.cloud.store import Store, dump
from greenhouse.home import ACCOUNT, REGION

log = logging.getLogger(__name__)

_CORE = ("platform", "architecture", "coreVersion", "runtime", "status")


def device_arn(thing: str) -> str:
    return f"arn:aws:greengrass:{REGION}:{ACCOUNT}:coreDevices:{thing}"


class Devices:
    """The operations on core devices, and the device's own two calls."""

    def __init__(
        self, store: Store, iot_and_s3: IotAndS3, shapes: ServiceShapes, deployments: Deployments
    ) -> None:
        self._store, self._iot_and_s3 = store, iot_and_s3
        self._shapes, self._deployments = shapes, deployments

    def get(self, request: Request) -> Answer:
        with self._store.transaction() as db:
            row = _find(db, request["coreDeviceThingName"])
            return {
                **json.loads(row["document"]),
                "coreDeviceThingName": row["thing"],
                "lastStatusUpdateTimestamp": row["reported"],
                "tags": tags_of(db, device_arn(row["thing"])),
            }

    def list_devices(self, request: Request) -> Answer:
        """ListCoreDevices: by status, runtime, or a group.

        For a group "the list includes only core devices that have successfully deployed a
        deployment that targets the thing group", even after they left it (API model).
        """
        with self._store.transaction() as db:
            rows = db.execute("SELECT * FROM device").fetchall()
            if group := request.get("thingGroupArn"):
                done = db.execute(
                    "SELECT thing FROM execution WHERE target = ? AND status = 'SUCCEEDED'",
                    (group,),
                ).fetchall()
                rows = [row for row in rows if row["thing"] in {one["thing"] for one in done}]
        devices = [
            {
                **{key: value for key, value in known.items() if key != "coreVersion"},
                "coreDeviceThingName": row["thing"],
                "lastStatusUpdateTimestamp": row["reported"],
            }
            for row, known in ((row, json.loads(row["document"])) for row in rows)
            if all(request.get(key) in (None, known.get(key)) for key in ("status", "runtime"))
        ]
        shown, token = page(devices, request, cursor=lambda one: [one["coreDeviceThingName"]])
        return {"coreDevices": shown, "nextToken": token}

    def delete(self, request: Request) -> Answer:
        """DeleteCoreDevice: delete the record. A device that still runs reports itself again."""
        with self._store.transaction() as db:
            thing = _find(db, request["coreDeviceThingName"])["thing"]
            for table in ("device", "installed", "execution"):
                db.execute(f"DELETE FROM {table} WHERE thing = ?", (thing,))  # noqa: S608  # ours
            drop_tags(db, device_arn(thing))
        return {}

    def list_effective(self, request: Request) -> Answer:
        """ListEffectiveDeployments: what was sent to the device, including replaced revisions."""
        with self._store.transaction() as db:
            _find(db, request["coreDeviceThingName"])
            _time_out(db)
            rows = db.execute(
                "SELECT * FROM execution WHERE thing = ?", (request["coreDeviceThingName"],)
            ).fetchall()
        shown, token = page(
            rows, request, cursor=lambda row: [row["created"], row["deployment"]], descending=True
        )
        return {
            "effectiveDeployments": [
                {
                    **json.loads(row["document"]),
                    "deploymentId": row["deployment"],
                    "targetArn": row["target"],
                    "coreDeviceExecutionStatus": row["status"],
                    "creationTimestamp": row["created"],
                    "modifiedTimestamp": row["modified"],
                }
                for row in shown
            ],
            "nextToken": token,
        }

    def list_installed(self, request: Request) -> Answer:
        """ListInstalledComponents: root components, or all of them for ALL."""
        roots_only = request.get("topologyFilter", "ROOT") == "ROOT"
        with self._store.transaction() as db:
            _find(db, request["coreDeviceThingName"])
            rows = db.execute(
                "SELECT * FROM installed WHERE thing = ?", (request["coreDeviceThingName"],)
            ).fetchall()
        known = [
            {
                **json.loads(row["document"]),
                "lastStatusChangeTimestamp": row["changed"],
                "lastReportedTimestamp": row["reported"],
            }
            for row in rows
        ]
        shown, token = page(
            [one for one in known if one.get("isRoot") or not roots_only],
            request,
            cursor=lambda one: [one["componentName"]],
        )
        return {"installedComponents": shown, "nextToken": token}

    def require_thing(self, thing: str) -> None:
        """Refuse a thing that isn't registered."""
        self._iot_and_s3.require(Target(thing_arn(thing), is_group=False, name=thing))

    def pending(self, thing: str) -> Answer:
        """The deployments in force for a thing, with a number that changes when they change.

        A cancelled or deleted deployment is no longer listed. That is no order to remove anything.
        A device drops a component only for a new deployment to the same target. After it has left
        the group, any new deployment does this.
        """
        rows = self._deployments.in_force(thing)
        now = time.time()
        with self._store.transaction() as db:
            _time_out(db)
            sent = [row for row in rows if roll_out(db, row, thing, now)]
        ids = "\n".join(row["id"] for row in sent)
        return {
            "seen": int.from_bytes(hashlib.sha256(ids.encode()).digest()[:6], "big"),
            "deployments": [_for_device(row) for row in sent],
        }

    def report(self, thing: str, body: Mapping[str, Any]) -> None:
        """Store a device's report: all of it, or nothing.

        `components` is the full list. `effectiveDeployments` has only what changed.
        """
        now = time.time()
        core, components = body.get("core"), body.get("components")
        if core is not None:
            known = self._shapes.check("GetCoreDeviceResponse", core)
            core = {name: known[name] for name in _CORE if name in known}
        if components is not None:
            components = self._shapes.check("InstalledComponentList", components)
            if nameless := [one for one in components if "componentName" not in one]:
                raise ValidationException(f"components without a componentName: {nameless}")
        changes = [self._change(one) for one in body.get("effectiveDeployments", [])]
        with self._store.transaction() as db:
            if core is not None:
                db.execute(
                    "INSERT INTO device VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
                    " SET document = excluded.document, reported = excluded.reported",
                    (thing, dump(core), now),
                )
            _find(db, thing)
            if components is not None:
                _replace_installed(db, thing, components, now)
            for change in changes:
                _apply(db, thing, change, now)

    def _change(self, given: Any) -> dict[str, Any]:
        if not isinstance(given, dict) or "deploymentId" not in given:
            raise ValidationException(f"effectiveDeployments: {given!r} has no deploymentId")
        change = {
            "deploymentId": given["deploymentId"],
            "status": self._shapes.check(
                "EffectiveDeploymentExecutionStatus", given.get("coreDeviceExecutionStatus")
            ),
        }
        if given.get("reason") is not None:
            change["reason"] = self._shapes.check("Reason", given["reason"])
        if given.get("statusDetails") is not None:
            change["statusDetails"] = self._shapes.check(
                "EffectiveDeploymentStatusDetails", given["statusDetails"]
            )
        return change


def _find(db: sqlite3.Connection, thing: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM device WHERE thing = ?", (thing,)
    ).fetchone()
    if row is None:
        raise ResourceNotFoundException(
            f"Core device {thing} does not exist: no device of that name has reported itself",
            resource_id=thing,
            resource_type="CoreDevice",
        )
    return row


def _for_device(row: sqlite3.Row) -> dict[str, Any]:
    document = json.loads(row["document"])
    return {
        "deploymentId": row["id"],
        "targetArn": row["target"],
        "deploymentName": document["deploymentName"],
        "components": document["components"],
        "deploymentPolicies": document["deploymentPolicies"],
        "creationTimestamp": row["created"],
    }


def _replace_installed(
    db: sqlite3.Connection, thing: str, components: list[dict[str, Any]], now: float
) -> None:
    """Store the full list. A component's change is dated by its version and state."""
    before = {
        row["component"]: (json.loads(row["document"]), row["changed"])
        for row in db.execute("SELECT * FROM installed WHERE thing = ?", (thing,))
    }
    db.execute("DELETE FROM installed WHERE thing = ?", (thing,))
    for component in components:
        name = component["componentName"]
        known, changed = before.get(name, ({}, now))
        same = all(
            known.get(key) == component.get(key) for key in ("componentVersion", "lifecycleState")
        )
        db.execute(
            "INSERT INTO installed VALUES (?, ?, ?, ?, ?)",
            (thing, name, dump(component), changed if same else now, now),
        )


def _apply(db: sqlite3.Connection, thing: str, change: Mapping[str, Any], now: float) -> None:
    """Store a deployment's progress on one device, even if it was replaced meanwhile."""
    deployment, status = change["deploymentId"], change["status"]
    row = db.execute(
        "SELECT * FROM execution WHERE thing = ? AND deployment = ?", (thing, deployment)
    ).fetchone()
    if row is None:
        raise ValidationException(f"deployment {deployment} was never sent to {thing}")
    ends = GROUP_ENDS if parse_target(row["target"]).is_group else THING_ENDS
    if status not in ends | {"QUEUED", "IN_PROGRESS"}:
        raise ValidationException(
            f"{status} is not how a deployment to {row['target']} goes; it ends as"
            f" {', '.join(sorted(ends))}"
        )
    document = json.loads(row["document"])
    document.pop("reason", None)
    document.pop("statusDetails", None)
    document |= {key: change[key] for key in ("reason", "statusDetails") if key in change}
    db.execute(
        "UPDATE execution SET status = ?, document = ?, modified = ?"
        " WHERE thing = ? AND deployment = ?",
        (
            status,
            dump(document),
            row["modified"] if status == row["status"] else now,
            thing,
            deployment,
        ),
    )
    if status != row["status"]:
        log.info("device %s: deployment %s is %s", thing, deployment, status)
        settle(db, deployment, status)


def _time_out(db: sqlite3.Connection) -> None:
    """AWS IoT Jobs' in-progress timer: IN_PROGRESS for longer than it allows becomes TIMED_OUT.

    The timer starts when the status becomes IN_PROGRESS. `modified` then holds that time.
    """
    now = time.time()
    late = db.execute(
        "SELECT thing, execution.deployment FROM execution"
        " JOIN deployment ON deployment.id = execution.deployment"
        " WHERE execution.status = 'IN_PROGRESS'"
        " AND json_extract(deployment.document, '$.iotJobId') IS NOT NULL"
        " AND execution.modified < ? - 60 * json_extract("
        "  deployment.document, '$.iotJobConfiguration.timeoutConfig.inProgressTimeoutInMinutes')",
        (now,),
    ).fetchall()
    for row in late:
        db.execute(
            "UPDATE execution SET status = 'TIMED_OUT', modified = ?"
            " WHERE thing = ? AND deployment = ?",
            (now, row["thing"], row["deployment"]),
        )
        settle(db, row["deployment"], "TIMED_OUT")
