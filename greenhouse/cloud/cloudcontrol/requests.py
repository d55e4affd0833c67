"""AWS Cloud Control: boto3's `cloudcontrol` client and clients like it work against it.

A request that changes something is accepted at once and done afterwards. Its token asks for its
progress. The store keeps a request before it is answered, so that the next cloud goes on with what
a killed cloud left half done. greengrassv2 makes nothing twice for the same token.

https://docs.aws.amazon.com/cloudcontrolapi/latest/userguide/resource-operations.html

These are refused by name: RoleArn, private type versions, ListResourceRequests, and JSON Patch's
operations move, copy and test.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from greenhouse.cloud.calls import Answer, Request
from greenhouse.cloud.cloudcontrol.handlers import (
    Call,
    Cancelled,
    ComponentVersionHandler,
    DeploymentHandler,
    Handler,
    HandlerFailed,
    not_found,
)
from greenhouse.cloud.service_shapes import ServiceShapes
from greenhouse.cloud.store import Store, dump

log = logging.getLogger(__name__)

TARGET = "CloudApiService."  # The prefix of X-Amz-Target.
TOKEN_SECONDS = 36 * 3600.0  # The API's model: "a client token is valid for 36 hours once used".
_UNDER_WAY = ("PENDING", "IN_PROGRESS", "CANCEL_IN_PROGRESS")
# The exception for a handler's code, if the request itself is answered with it. Source: API
# reference, "Errors" of GetResource. Any code that is missing here is a HandlerFailureException.
_EXCEPTIONS = {
    "InvalidRequest": "InvalidRequestException",
    "NotFound": "ResourceNotFoundException",
    "Throttling": "ThrottlingException",
    "ServiceInternalError": "ServiceInternalErrorException",
}


class ControlError(Exception):
    """An error that is answered under AWS' name for it."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class CloudControl:
    """The operations. `call` runs an operation of greengrassv2."""

    def __init__(self, store: Store, shapes: ServiceShapes, call: Call) -> None:
        self._store = store
        handlers = (ComponentVersionHandler(call, shapes), DeploymentHandler(call, shapes))
        self._handlers: Mapping[str, Handler] = {one.type.name: one for one in handlers}
        self._cancelled: dict[str, threading.Event] = {}
        self._operations: Mapping[str, Callable[[Request], Answer]] = {
            "CreateResource": self._create,
            "UpdateResource": self._update,
            "DeleteResource": self._delete,
            "GetResource": self._get,
            "ListResources": self._list,
            "GetResourceRequestStatus": self._status,
            "CancelResourceRequest": self._cancel,
        }

    def answer(self, operation: str, request: Request) -> Answer:
        """Answer one request. Raises ControlError. The work that it began is in `unfinished`."""
        if operation not in self._operations:
            raise ControlError(
                "UnsupportedActionException",
                f"greenhouse does not model {operation}; a real AWS account does",
            )
        for name in ("RoleArn", "TypeVersionId"):
            if name in request:
                raise ControlError(
                    "InvalidRequestException",
                    f"greenhouse does not model {name}; a real AWS account does",
                )
        return self._operations[operation](request)

    def unfinished(self) -> list[str]:
        """Tokens of the requests on which nobody works. Each token is returned once."""
        with self._store.transaction() as db:
            rows = db.execute("SELECT token FROM request WHERE status = 'IN_PROGRESS'").fetchall()
            left = [row["token"] for row in rows if row["token"] not in self._cancelled]
            self._cancelled |= {token: threading.Event() for token in left}
        return left

    def work(self, token: str) -> None:
        """Do what the request asks for, and record the outcome."""
        with self._store.transaction() as db:
            row = db.execute("SELECT * FROM request WHERE token = ?", (token,)).fetchone()
        try:
            identifier = self._do(row, json.loads(row["asked"]), self._cancelled[token])
        except HandlerFailed as error:
            told = f"{error} (RequestToken: {token}, HandlerErrorCode: {error.code})"
            self._end(token, "FAILED", error=error.code, message=told)
        except Cancelled:
            self._end(token, "CANCEL_COMPLETE")
        except Exception:  # Our own mistake: the caller gets an answer, the log gets the reason.
            log.exception("%s %s", row["operation"], row["type"])
            told = "greenhouse's cloud made a mistake: see its log"
            self._end(token, "FAILED", error="InternalFailure", message=told)
        else:
            self._end(token, "SUCCESS", identifier=identifier)

    def _do(self, row: Any, asked: Request, cancelled: threading.Event) -> str:
        handler = self._handlers[row["type"]]
        if row["operation"] == "CREATE":
            return handler.create(json.loads(asked["DesiredState"]), row["token"], cancelled)
        identifier = str(row["identifier"])
        if row["operation"] == "UPDATE":
            before = handler.read(identifier)
            after = _patched(before, json.loads(asked["PatchDocument"]))
            handler.update(identifier, before, after)
        else:
            handler.delete(identifier)
        return identifier

    # The operations:

    def _create(self, request: Request) -> Answer:
        handler = self._handler(request)
        state = _object(request["DesiredState"], "DesiredState")
        if found := handler.type.problems(state):
            raise ControlError("ValidationException", f"Model validation failed ({found[0]})")
        return self._begin("CREATE", request, None)

    def _update(self, request: Request) -> Answer:
        handler, identifier = self._handler(request), request["Identifier"]
        patch = _patch(request["PatchDocument"])
        touched = {f"/properties/{one['path'].split('/')[1]}" for one in patch}
        for kind, fixed in (
            ("createOnlyProperties", handler.type.create_only),
            ("readOnlyProperties", handler.type.read_only),
        ):
            if named := sorted(touched & {f"/properties/{name}" for name in fixed}):
                raise ControlError(
                    "ValidationException",
                    f"Invalid patch update: {kind} [{', '.join(named)}] cannot be updated",
                )
        after = _patched(self._read(handler, identifier), patch)
        if found := handler.type.problems(after):
            raise ControlError("ValidationException", f"Model validation failed ({found[0]})")
        return self._begin("UPDATE", request, identifier)

    def _delete(self, request: Request) -> Answer:
        self._handler(request)
        return self._begin("DELETE", request, request["Identifier"])

    def _get(self, request: Request) -> Answer:
        handler, identifier = self._handler(request), request["Identifier"]
        described = _described(identifier, self._read(handler, identifier))
        return {"TypeName": request["TypeName"], "ResourceDescription": described}

    def _list(self, request: Request) -> Answer:
        handler = self._handler(request)
        page = {
            ours: request[theirs]
            for ours, theirs in (("nextToken", "NextToken"), ("maxResults", "MaxResults"))
            if theirs in request
        }
        model = _object(request.get("ResourceModel", "{}"), "ResourceModel")
        try:
            found, token = handler.list(model, page)
        except HandlerFailed as error:
            raise _failure(error) from error
        name = handler.type.identifier
        return {
            "TypeName": request["TypeName"],
            "ResourceDescriptions": [_described(one[name], one) for one in found],
            **({"NextToken": token} if token else {}),
        }

    def _status(self, request: Request) -> Answer:
        return {"ProgressEvent": _event(self._find(request["RequestToken"]))}

    def _cancel(self, request: Request) -> Answer:
        token = request["RequestToken"]
        row = self._find(token)
        if row["status"] not in ("PENDING", "IN_PROGRESS"):
            raise ControlError(
                "ConcurrentModificationException",
                f"The request {token} is {row['status']}: only a request with the status PENDING"
                " or IN_PROGRESS can be cancelled",
            )
        with self._store.transaction() as db:
            db.execute(
                "UPDATE request SET status = 'CANCEL_IN_PROGRESS', changed = ?"
                " WHERE token = ? AND status = 'IN_PROGRESS'",
                (time.time(), token),
            )
        if token in self._cancelled:
            self._cancelled[token].set()
        return {"ProgressEvent": _event(self._find(token))}

    # What they share:

    def _handler(self, request: Request) -> Handler:
        name = request["TypeName"]
        if name not in self._handlers:
            raise ControlError("TypeNotFoundException", f"The type '{name}' cannot be found.")
        return self._handlers[name]

    @staticmethod
    def _read(handler: Handler, identifier: str) -> dict[str, Any]:
        try:
            return handler.read(identifier)
        except HandlerFailed as error:
            if error.code == "NotFound":
                told = not_found(handler.type.name, identifier)
                raise ControlError("ResourceNotFoundException", told) from error
            raise _failure(error) from error

    def _begin(self, operation: str, request: Request, identifier: str | None) -> Answer:
        """Store the request, or find the request that the same client token has begun."""
        given = request.get("ClientToken")
        asked = dump({name: one for name, one in request.items() if name != "ClientToken"})
        token, now = str(uuid.uuid4()), time.time()
        with self._store.transaction() as db:
            db.execute(
                f"DELETE FROM request WHERE changed <= ? AND status NOT IN {_UNDER_WAY}",  # noqa: S608  # constants of ours
                (now - TOKEN_SECONDS,),
            )
            earlier = db.execute(
                "SELECT * FROM request WHERE client_token = ?", (given,)
            ).fetchone()
            if earlier:
                if (earlier["operation"], earlier["asked"]) != (operation, asked):
                    raise ControlError(
                        "ClientTokenConflictException",
                        f"ClientToken {given} has been used for another request",
                    )
                return {"ProgressEvent": _event(earlier)}
            if (
                identifier
                and db.execute(
                    f"SELECT 1 FROM request WHERE type = ? AND identifier = ? AND status IN {_UNDER_WAY}",  # noqa: S608, E501  # constants of ours
                    (request["TypeName"], identifier),
                ).fetchone()
            ):
                raise ControlError(
                    "ConcurrentOperationException",
                    f"Another operation on '{identifier}' is in progress",
                )
            db.execute(
                "INSERT INTO request VALUES (?, ?, ?, ?, ?, ?, 'IN_PROGRESS', NULL, NULL, ?)",
                (token, given, asked, request["TypeName"], operation, identifier, now),
            )
        return {"ProgressEvent": _event(self._find(token))}

    def _find(self, token: str) -> Any:
        with self._store.transaction() as db:
            row = db.execute("SELECT * FROM request WHERE token = ?", (token,)).fetchone()
        if row is None:
            raise ControlError(
                "RequestTokenNotFoundException", f"Request with token {token} was not found"
            )
        return row

    def _end(
        self,
        token: str,
        status: str,
        *,
        identifier: str | None = None,
        error: str | None = None,
        message: str | None = None,
    ) -> None:
        with self._store.transaction() as db:
            db.execute(
                "UPDATE request SET status = ?, identifier = coalesce(identifier, ?), error = ?,"
                " message = ?, changed = ? WHERE token = ?",
                (status, identifier, error, message, time.time(), token),
            )
        log.info("%s %s %s", token, status, message or identifier or "-")


def _event(row: Any) -> dict[str, Any]:
    known = {
        "Identifier": row["identifier"],
        "ErrorCode": row["error"],
        "StatusMessage": row["message"],
    }
    return {
        "TypeName": row["type"],
        "RequestToken": row["token"],
        "Operation": row["operation"],
        "OperationStatus": row["status"],
        "EventTime": row["changed"],
        **{name: one for name, one in known.items() if one is not None},
    }


def _failure(error: HandlerFailed) -> ControlError:
    return ControlError(_EXCEPTIONS.get(error.code, "HandlerFailureException"), str(error))


def _described(identifier: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"Identifier": identifier, "Properties": dump(properties)}


def _object(text: str, name: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ControlError("ValidationException", f"{name} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ControlError("ValidationException", f"{name} is JSON but no object")
    return found


def _patch(text: str) -> list[dict[str, Any]]:
    """The operations of a JSON Patch (RFC 6902)."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ControlError("ValidationException", f"PatchDocument is not JSON: {error}") from error
    for one in found if isinstance(found, list) else [found]:
        if not (isinstance(one, dict) and str(one.get("path", "")).startswith("/")):
            raise ControlError(
                "ValidationException", "PatchDocument is no list of operations with a path"
            )
        if one.get("op") not in ("add", "remove", "replace"):
            raise ControlError(
                "ValidationException",
                f"greenhouse models add, remove and replace of JSON Patch, not {one.get('op')!r}",
            )
    if not isinstance(found, list):
        raise ControlError("ValidationException", "PatchDocument is JSON but no list")
    return found


def _patched(before: Mapping[str, Any], patch: list[dict[str, Any]]) -> dict[str, Any]:
    """The properties after the patch. `add` replaces what exists, as in RFC 6902."""
    after: dict[str, Any] = json.loads(json.dumps(before))
    for one in patch:
        *way, last = [
            part.replace("~1", "/").replace("~0", "~") for part in one["path"].split("/")[1:]
        ]
        place: Any = after
        for part in way:
            place = place.get(part) if isinstance(place, dict) else None
        missing = not isinstance(place, dict) or (one["op"] != "add" and last not in place)
        if missing:
            raise ControlError(
                "ValidationException", f"Invalid patch update: there is no {one['path']}"
            )
        if one["op"] == "remove":
            del place[last]
        else:
            place[last] = one.get("value")
    return after
