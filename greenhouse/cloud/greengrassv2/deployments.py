"""Deployments: each target has one, in revisions. The newest revision replaces the others.

The states, and what is known of them:

* ACTIVE until a thing's device reports its end (COMPLETED or FAILED). A group's deployment stays
  ACTIVE even if a device failed (aws-cli#6185), because members may join later.
* A new revision cancels an active one: "previous deployments cancel when you create a new revision"
  (developer guide, Cancel deployments). So ACTIVE becomes CANCELED. A revision that had ended
  becomes INACTIVE: AWS doesn't document that status, but the model leaves no other.
* Every deployment can be cancelled: CloudFormation's handler cancels before each delete, even a
  replaced revision. A cancel reaches only devices that haven't received the deployment.
* "To delete an active deployment, you must first cancel it" (API model). greenhouse is stricter:
  only CANCELED and INACTIVE can be deleted. So a program that forgets to cancel is found out.

The jobs are our own: no AWS IoT job exists behind an iotJobId. A thing's deployment travels by its
shadow and has no job. So an iotJobConfiguration given for a thing is shown again, and has no
effect.
"""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from greenhouse.cloud.calls import Answer, ClientTokens, Request, drop_tags, page, put_tags, tags_of
from greenhouse.cloud.errors import (
    ConflictException,
    ResourceNotFoundException,
    ValidationException,
    not_modelled,
)
from greenhouse.cloud.greengrassv2 import components
from greenhouse.cloud.greengrassv2.recipe import MAX_NAME
from greenhouse.cloud.iot_and_s3 import IotAndS3, Target, parse_target, thing_arn
from greenhouse.cloud.store import Store, dump
from greenhouse.home import ACCOUNT, REGION

GROUP_ENDS = {"SUCCEEDED", "FAILED", "REJECTED", "TIMED_OUT", "CANCELED"}
THING_ENDS = {"COMPLETED", "FAILED", "REJECTED", "TIMED_OUT", "CANCELED"}

# The documented defaults of DeploymentPolicies and its members.
_UPDATE_POLICY = {"timeoutInSeconds": 60, "action": "NOTIFY_COMPONENTS"}
_VALIDATION_POLICY = {"timeoutInSeconds": 30}

_MAX_TIMEOUT_MINUTES = 10_080  # Seven days: "between 1 minute and 7 days (10080 minutes)".


def deployment_arn(deployment: str) -> str:
    return f"arn:aws:greengrass:{REGION}:{ACCOUNT}:deployments:{deployment}"


class Deployments:
    """The operations on deployments."""

    def __init__(self, store: Store, iot_and_s3: IotAndS3, tokens: ClientTokens) -> None:
        self._store, self._iot_and_s3, self._tokens = store, iot_and_s3, tokens

    def create(self, request: Request) -> Answer:
        """CreateDeployment: the next revision for its target."""
        operation, token = "CreateDeployment", request.get("clientToken")
        with self._tokens.claimed(operation, token) as earlier:
            if earlier:
                return earlier
            target = parse_target(request["targetArn"])
            _check_components(request.get("components", {}))
            _check_job(request)
            self._iot_and_s3.require(target)
            things = self._iot_and_s3.members(target.name) if target.is_group else {target.name}
            deployment, now = str(uuid.uuid4()), time.time()
            answer = {"deploymentId": deployment}
            if target.is_group:
                job = str(uuid.uuid4())
                answer["iotJobId"] = job
                answer["iotJobArn"] = f"arn:aws:iot:{REGION}:{ACCOUNT}:job/{job}"
            document = {
                "deploymentName": request.get("deploymentName"),
                "components": request.get("components", {}),
                "deploymentPolicies": _policies(request.get("deploymentPolicies", {})),
                "iotJobConfiguration": request.get("iotJobConfiguration", {}),
                "iotJobId": answer.get("iotJobId"),
                "iotJobArn": answer.get("iotJobArn"),
            }
            with self._store.transaction() as db:
                _refuse_missing(db, document["components"])
                revision = _next_revision(db, target, deployment)
                db.execute(
                    "INSERT INTO deployment VALUES (?, ?, ?, 'ACTIVE', ?, ?)",
                    (deployment, target.arn, revision, now, dump(document)),
                )
                put_tags(db, deployment_arn(deployment), request.get("tags", {}))
                row = _find(db, deployment)
                for thing in sorted(things):
                    roll_out(db, row, thing, now)
                return self._tokens.keep(db, operation, token, answer)

    def get(self, request: Request) -> Answer:
        with self._store.transaction() as db:
            row = _find(db, request["deploymentId"])
            return {
                **_summary(db, row),
                **json.loads(row["document"]),
                "tags": tags_of(db, deployment_arn(row["id"])),
            }

    def list_deployments(self, request: Request) -> Answer:
        """ListDeployments: the latest of each target, or ALL. The newest comes first.

        No deployment here has a parent (see `_check_job`), so that filter returns none.
        """
        everything = request.get("historyFilter") == "ALL"
        with self._store.transaction() as db:
            summaries = [_summary(db, row) for row in db.execute("SELECT * FROM deployment")]
        shown, token = page(
            [
                one
                for one in summaries
                if (everything or one["isLatestForTarget"])
                and request.get("targetArn") in (None, one["targetArn"])
                and "parentTargetArn" not in request
            ],
            request,
            cursor=lambda one: [one["creationTimestamp"], one["deploymentId"]],
            descending=True,
        )
        return {"deployments": shown, "nextToken": token}

    def cancel(self, request: Request) -> Answer:
        """CancelDeployment: a device that has it already goes on. Other devices won't get it."""
        with self._store.transaction() as db:
            row = _find(db, request["deploymentId"])
            if row["status"] != "INACTIVE":
                _end(db, row["id"], "CANCELED")
        return {"message": "SUCCESS"}

    def delete(self, request: Request) -> Answer:
        """DeleteDeployment: forget the record. Devices keep what they run."""
        with self._store.transaction() as db:
            row = _find(db, request["deploymentId"])
            if row["status"] not in ("CANCELED", "INACTIVE"):
                raise ConflictException(
                    f"Deployment should be cancelled before deleted: {row['id']} is"
                    f" {row['status']}; CancelDeployment first",
                    resource_id=row["id"],
                    resource_type="Deployment",
                )
            db.execute("DELETE FROM deployment WHERE id = ?", (row["id"],))
            drop_tags(db, deployment_arn(row["id"]))
        return {}

    def in_force(self, thing: str) -> list[sqlite3.Row]:
        """The deployments that together say what this thing runs, oldest first.

        AWS IoT is asked for group membership each time. A device that joins a group gets the
        group's deployment. A device that leaves the group loses it at its next deployment.
        """
        with self._store.transaction() as db:
            rows = db.execute(
                "SELECT deployment.* FROM deployment"
                " JOIN target ON target.latest = deployment.id"
                " WHERE status NOT IN ('CANCELED', 'INACTIVE') ORDER BY created"
            ).fetchall()
        return [row for row in rows if self._reaches(parse_target(row["target"]), thing)]

    def _reaches(self, target: Target, thing: str) -> bool:
        if target.is_group:
            return thing in self._iot_and_s3.recent_members(target.name)
        return target.arn == thing_arn(thing)


def roll_out(db: sqlite3.Connection, row: sqlite3.Row, thing: str, now: float) -> bool:
    """Queue the deployment for a thing unless it is queued. False while the job's rate forbids it.

    AWS IoT Jobs' maximumPerMinute limits how many devices are notified each minute.
    """
    known = "SELECT 1 FROM execution WHERE deployment = ? AND thing = ?"
    if db.execute(known, (row["id"], thing)).fetchone():
        return True
    document = json.loads(row["document"])
    rollout = document["iotJobConfiguration"].get("jobExecutionsRolloutConfig", {})
    (lately,) = db.execute(
        "SELECT COUNT(*) FROM execution WHERE deployment = ? AND created > ?", (row["id"], now - 60)
    ).fetchone()
    if lately >= rollout.get("maximumPerMinute", float("inf")):
        return False
    kept = {
        "deploymentName": document["deploymentName"] or row["id"],  # The answer requires a name.
        "iotJobId": document["iotJobId"],
        "iotJobArn": document["iotJobArn"],
    }
    db.execute(
        "INSERT INTO execution VALUES (?, ?, ?, ?, 'QUEUED', ?, ?)",
        (thing, row["id"], row["target"], dump(kept), now, now),
    )
    return True


def settle(db: sqlite3.Connection, deployment: str, status: str) -> None:
    """Record what a device's final report means for its deployment, unless that was replaced."""
    row = db.execute(
        "SELECT deployment.* FROM deployment JOIN target ON target.latest = deployment.id"
        " WHERE id = ? AND status = 'ACTIVE'",
        (deployment,),
    ).fetchone()
    if row is None:
        return
    if not parse_target(row["target"]).is_group:
        if status in THING_ENDS:
            _end(db, deployment, "COMPLETED" if status == "COMPLETED" else "FAILED")
    elif _must_abort(db, row):
        _end(db, deployment, "CANCELED")


def _must_abort(db: sqlite3.Connection, row: sqlite3.Row) -> bool:
    """AWS IoT Jobs' abort: enough devices have ended, and too many of these failed."""
    configured = json.loads(row["document"])["iotJobConfiguration"].get("abortConfig", {})
    ends = [
        one["status"]
        for one in db.execute("SELECT status FROM execution WHERE deployment = ?", (row["id"],))
        if one["status"] in GROUP_ENDS
    ]
    for criterion in configured.get("criteriaList", []):
        kind = criterion["failureType"]
        bad = {"FAILED", "REJECTED", "TIMED_OUT"} if kind == "ALL" else {kind}
        failed = sum(status in bad for status in ends)
        if (
            failed
            and len(ends) >= criterion["minNumberOfExecutedThings"]
            and failed / len(ends) * 100 >= criterion["thresholdPercentage"]
        ):
            return True
    return False


def _end(db: sqlite3.Connection, deployment: str, status: str) -> None:
    """Close a deployment. Devices that haven't received it won't get it."""
    db.execute("UPDATE deployment SET status = ? WHERE id = ?", (status, deployment))
    db.execute(
        "UPDATE execution SET status = 'CANCELED', modified = ?"
        " WHERE deployment = ? AND status = 'QUEUED'",
        (time.time(), deployment),
    )


def _next_revision(db: sqlite3.Connection, target: Target, deployment: str) -> int:
    """Make the revision the latest of its target, and close the one before."""
    known = db.execute("SELECT * FROM target WHERE arn = ?", (target.arn,)).fetchone()
    if known is None:
        db.execute("INSERT INTO target VALUES (?, 1, ?)", (target.arn, deployment))
        return 1
    before = db.execute(
        "SELECT id, status FROM deployment WHERE id = ?", (known["latest"],)
    ).fetchone()
    if before and before["status"] != "CANCELED":
        _end(db, before["id"], "CANCELED" if before["status"] == "ACTIVE" else "INACTIVE")
    revision = int(known["revision"]) + 1
    db.execute(
        "UPDATE target SET revision = ?, latest = ? WHERE arn = ?",
        (revision, deployment, target.arn),
    )
    return revision


def _summary(db: sqlite3.Connection, row: sqlite3.Row) -> dict[str, Any]:
    (latest,) = db.execute("SELECT latest FROM target WHERE arn = ?", (row["target"],)).fetchone()
    return {
        "targetArn": row["target"],
        "revisionId": str(row["revision"]),
        "deploymentId": row["id"],
        "deploymentName": json.loads(row["document"])["deploymentName"],
        "creationTimestamp": row["created"],
        "deploymentStatus": row["status"],
        "isLatestForTarget": latest == row["id"],
    }


def _find(db: sqlite3.Connection, deployment: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM deployment WHERE id = ?", (deployment,)
    ).fetchone()
    if row is None:
        raise ResourceNotFoundException(
            f"Deployment {deployment} does not exist",
            resource_id=deployment,
            resource_type="Deployment",
        )
    return row


def _policies(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "failureHandlingPolicy": given.get("failureHandlingPolicy", "ROLLBACK"),
        "componentUpdatePolicy": _UPDATE_POLICY | given.get("componentUpdatePolicy", {}),
        "configurationValidationPolicy": (
            _VALIDATION_POLICY | given.get("configurationValidationPolicy", {})
        ),
    }


def _check_components(wanted: Mapping[str, Mapping[str, Any]]) -> None:
    """`merge` is "a serialized JSON string that contains the configuration object"."""
    for name, component in wanted.items():
        if len(name) > MAX_NAME:
            raise ValidationException(f"component name {name!r} is longer than {MAX_NAME}")
        update = component.get("configurationUpdate", {})
        try:
            merged = json.loads(update.get("merge", "{}"))
        except ValueError as error:
            raise ValidationException(
                f"components.{name}.configurationUpdate.merge is not JSON: {error}"
            ) from error
        if not isinstance(merged, dict):
            raise ValidationException(
                f"components.{name}.configurationUpdate.merge is JSON but no object: {merged!r}"
            )
        for pointer in update.get("reset", []):
            if pointer and not pointer.startswith("/"):
                raise ValidationException(
                    f"components.{name}.configurationUpdate.reset: {pointer!r} is no JSON pointer"
                    " (\"\" for everything, else it starts with '/')"
                )


def _check_job(request: Request) -> None:
    """Accept what is modelled of AWS IoT Jobs, and refuse the rest."""
    if "parentTargetArn" in request:
        raise not_modelled("subdeployments (parentTargetArn)")
    job = request.get("iotJobConfiguration", {})
    if "exponentialRate" in job.get("jobExecutionsRolloutConfig", {}):
        raise not_modelled("an exponential rollout rate; maximumPerMinute is modelled")
    minutes = job.get("timeoutConfig", {}).get("inProgressTimeoutInMinutes", 1)
    if not 1 <= minutes <= _MAX_TIMEOUT_MINUTES:
        raise ValidationException(
            f"inProgressTimeoutInMinutes is {minutes}, not between 1 and {_MAX_TIMEOUT_MINUTES}"
        )


def _refuse_missing(db: sqlite3.Connection, wanted: Mapping[str, Mapping[str, Any]]) -> None:
    missing: Iterable[str] = [
        f"{name} {component['componentVersion']}"
        for name, component in wanted.items()
        if not components.exists(db, name, component["componentVersion"])
    ]
    if missing:
        names = ", ".join(missing)
        raise ResourceNotFoundException(
            f"These component versions do not exist: {names}",
            resource_id=names,
            resource_type="ComponentVersion",
        )
