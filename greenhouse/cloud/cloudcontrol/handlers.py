"""What CloudFormation's handlers do with greengrassv2 for the two resource types.

The sources are the handlers' own code
(aws-cloudformation/aws-cloudformation-resource-providers-greengrassv2) and records of Cloud
Control's clients in tests/greenhouse/providers/conformance. These behaviours surprise, and are
kept:

* A component version that doesn't become DEPLOYABLE is NotStabilized, and its ARN isn't returned.
* A deployment is cancelled before it is deleted. Any conflict there is reported to the caller.
* A deployment is SUCCESS when it is made. The handler doesn't wait for devices.
"""

from __future__ import annotations

import base64
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from greenhouse.cloud.cloudcontrol.resource_types import ResourceType
from greenhouse.cloud.errors import (
    AccessDeniedException,
    ApiError,
    ConflictException,
    InternalServerException,
    ResourceNotFoundException,
    ThrottlingException,
    ValidationException,
)
from greenhouse.cloud.greengrassv2.deployments import deployment_arn
from greenhouse.cloud.service_shapes import ServiceShapes

Properties = Mapping[str, Any]
Call = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""An operation of greengrassv2 with its request. Raises ApiError."""

STABLE_SECONDS = 20 * 60  # The handlers wait so long for a component version.
_POLL_SECONDS = 0.5  # The handlers poll every 5 s. Here all is on one machine.


class HandlerFailed(Exception):
    """A handler failed, with CloudFormation's code for it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Cancelled(Exception):
    """The request was cancelled while its handler waited."""


class Handler(ABC):
    """One resource type, implemented with greengrassv2."""

    type: ResourceType
    throttled: ClassVar[str] = "Throttling"

    def __init__(self, call: Call) -> None:
        self._call = call

    @abstractmethod
    def create(self, properties: Properties, token: str, cancelled: threading.Event) -> str:
        """Create the resource, once for each token, and return its identifier.

        Raises HandlerFailed or Cancelled.
        """

    @abstractmethod
    def read(self, identifier: str) -> dict[str, Any]:
        """Its properties. Raises HandlerFailed."""

    @abstractmethod
    def delete(self, identifier: str) -> None:
        """Remove it. Raises HandlerFailed."""

    @abstractmethod
    def list(self, model: Properties, page: Mapping[str, Any]) -> tuple[list[Properties], Any]:
        """The identifying properties of the resources that exist, and greengrassv2's next token."""

    @abstractmethod
    def arn(self, identifier: str) -> str:
        """The ARN that carries the tags."""

    def update(self, identifier: str, before: Properties, after: Properties) -> None:
        """Change its tags, which are all that can be changed. Raises HandlerFailed."""
        old, new = before.get("Tags") or {}, after.get("Tags") or {}
        arn = self.arn(identifier)
        if added := dict(new.items() - old.items()):
            self.ask("TagResource", identifier, resourceArn=arn, tags=added)
        if dropped := sorted(old.keys() - new.keys()):
            self.ask("UntagResource", identifier, resourceArn=arn, tagKeys=dropped)

    def ask(self, operation: str, identifier: str | None, **request: Any) -> Mapping[str, Any]:
        """greengrassv2's answer. Its errors are put into the handlers' words."""
        try:
            return self._call(operation, request)
        except ResourceNotFoundException as error:
            kind, name = (self.type.name, identifier) if identifier else (operation, str(error))
            raise HandlerFailed("NotFound", not_found(kind, name)) from error
        except ConflictException as error:
            if operation == "CreateComponentVersion":
                raise HandlerFailed("AlreadyExists", str(error)) from error
            raise HandlerFailed(
                "ResourceConflict",
                f"Resource of type '{self.type.name}' with identifier '{operation}' has a conflict."
                f" Reason: {error}.",
            ) from error
        except ValidationException as error:
            raise HandlerFailed(
                "InvalidRequest",
                f"Invalid request provided: {error} (Service: GreengrassV2, Status Code: 400)",
            ) from error
        except AccessDeniedException as error:
            raise HandlerFailed(
                "AccessDenied", f"Access denied for operation '{error}'."
            ) from error
        except ThrottlingException as error:
            raise HandlerFailed(self.throttled, str(error)) from error
        except InternalServerException as error:
            raise HandlerFailed(
                "ServiceInternalError",
                f"Internal error reported from downstream service during operation '{operation}'.",
            ) from error
        except ApiError as error:
            raise HandlerFailed("GeneralServiceException", str(error)) from error


def not_found(kind: str, name: str | None) -> str:
    return f"Resource of type '{kind}' with identifier '{name}' was not found."


class ComponentVersionHandler(Handler):
    """AWS::GreengrassV2::ComponentVersion."""

    def __init__(self, call: Call, shapes: ServiceShapes) -> None:
        super().__init__(call)
        self.type = ResourceType(
            "AWS::GreengrassV2::ComponentVersion",
            shapes,
            "CreateComponentVersionRequest",
            identifier="Arn",
            read_only=frozenset({"Arn", "ComponentName", "ComponentVersion"}),
            write_only=frozenset({"InlineRecipe", "LambdaFunction"}),
        )

    def create(self, properties: Properties, token: str, cancelled: threading.Event) -> str:
        for name in sorted(self.type.read_only & properties.keys()):
            raise HandlerFailed("InvalidRequest", f"{name} is a read-only property.")
        if {"InlineRecipe", "LambdaFunction"} <= properties.keys():
            raise HandlerFailed(
                "InvalidRequest", "LambdaFunction and InlineRecipe should not be both provided."
            )
        request = self.type.to_service(properties)
        if "inlineRecipe" in request:
            request["inlineRecipe"] = base64.b64encode(request["inlineRecipe"].encode()).decode()
        made = self.ask("CreateComponentVersion", None, **request, clientToken=token)
        self._stabilize(str(made["arn"]), cancelled)
        return str(made["arn"])

    def _stabilize(self, arn: str, cancelled: threading.Event) -> None:
        for _ in range(int(STABLE_SECONDS / _POLL_SECONDS)):
            state = self.ask("DescribeComponent", arn, arn=arn)["status"]["componentState"]
            if state == "DEPLOYABLE":
                return
            if state not in ("INITIATED", "REQUESTED"):
                break
            if cancelled.wait(_POLL_SECONDS):
                raise Cancelled
        raise HandlerFailed(
            "NotStabilized",
            f"Resource of type '{self.type.name}' with identifier '{arn}' did not stabilize.",
        )

    def read(self, identifier: str) -> dict[str, Any]:
        found = self.ask("DescribeComponent", identifier, arn=identifier)
        tags = self.ask("ListTagsForResource", identifier, resourceArn=identifier)["tags"]
        return {
            "Arn": identifier,
            "ComponentName": found["componentName"],
            "ComponentVersion": found["componentVersion"],
            **({"Tags": tags} if tags else {}),
        }

    def delete(self, identifier: str) -> None:
        self.ask("DeleteComponent", identifier, arn=identifier)

    def list(self, model: Properties, page: Mapping[str, Any]) -> tuple[list[Properties], Any]:
        if "Arn" not in model:
            raise HandlerFailed(
                "InvalidRequest", "Missing or invalid ResourceModel property. Required: [Arn]"
            )
        found = self.ask("ListComponentVersions", model["Arn"], arn=model["Arn"], **page)
        names = [{"Arn": one["arn"]} for one in found["componentVersions"]]
        return list(names), found.get("nextToken")

    def arn(self, identifier: str) -> str:
        return identifier


class DeploymentHandler(Handler):
    """AWS::GreengrassV2::Deployment."""

    throttled = "ServiceLimitExceeded"

    def __init__(self, call: Call, shapes: ServiceShapes) -> None:
        super().__init__(call)
        self.type = ResourceType(
            "AWS::GreengrassV2::Deployment",
            shapes,
            "CreateDeploymentRequest",
            identifier="DeploymentId",
            read_only=frozenset({"DeploymentId"}),
        )

    def create(self, properties: Properties, token: str, cancelled: threading.Event) -> str:
        del cancelled  # There is nothing to wait for.
        if "DeploymentId" in properties:
            raise HandlerFailed("InvalidRequest", "DeploymentId is a read-only property.")
        request = self.type.to_service(properties)
        made = self.ask("CreateDeployment", None, **request, clientToken=token)
        return str(made["deploymentId"])

    def read(self, identifier: str) -> dict[str, Any]:
        found = self.ask("GetDeployment", identifier, deploymentId=identifier)
        shown = {name: one for name, one in found.items() if one is not None}
        if not shown.get("iotJobConfiguration"):  # The request said nothing about the job.
            shown.pop("iotJobConfiguration", None)
        return {"DeploymentId": identifier, **self.type.from_service(shown)}

    def delete(self, identifier: str) -> None:
        self.ask("CancelDeployment", identifier, deploymentId=identifier)
        self.ask("DeleteDeployment", identifier, deploymentId=identifier)

    def list(self, model: Properties, page: Mapping[str, Any]) -> tuple[list[Properties], Any]:
        del model  # The handler's list takes no filter.
        found = self.ask("ListDeployments", None, **page)
        names = [{"DeploymentId": one["deploymentId"]} for one in found["deployments"]]
        return list(names), found.get("nextToken")

    def arn(self, identifier: str) -> str:
        return deployment_arn(identifier)
