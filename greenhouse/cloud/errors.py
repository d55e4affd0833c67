"""The API's errors, with AWS' names. botocore's model knows their status codes.

If AWS' text is known, it is cited. Otherwise the text says what was asked, what was found and what
to do.
"""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """An error that the caller gets under the class' own name, which is AWS' name for it."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.body = {"message": message, **details}


class ValidationException(ApiError):
    """The request isn't valid."""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "OTHER",
        fields: list[dict[str, str]] | None = None,
    ) -> None:
        super().__init__(message, reason=reason, fields=fields or [])


class ResourceNotFoundException(ApiError):
    """The requested resource can't be found."""

    def __init__(self, message: str, *, resource_id: str, resource_type: str) -> None:
        super().__init__(message, resourceId=resource_id, resourceType=resource_type)


class ConflictException(ApiError):
    """The request conflicts with what is there."""

    def __init__(self, message: str, *, resource_id: str, resource_type: str) -> None:
        super().__init__(message, resourceId=resource_id, resourceType=resource_type)


class AccessDeniedException(ApiError):
    """Nobody in this account may do that."""


class ThrottlingException(ApiError):
    """Too many requests."""


class RequestAlreadyInProgressException(ApiError):
    """Another call with the same client token is in progress."""


class InternalServerException(ApiError):
    """Our fault, or MiniStack's."""


def not_modelled(what: str) -> ValidationException:
    """Refuse what AWS would do and greenhouse doesn't. A refusal is better than a guess."""
    return ValidationException(
        f"greenhouse does not model {what}; a real AWS account does", reason="UNKNOWN_OPERATION"
    )


INJECTED: dict[str, type[ApiError]] = {
    kind.__name__: kind
    for kind in (
        AccessDeniedException,
        ConflictException,
        InternalServerException,
        ResourceNotFoundException,
        ThrottlingException,
        ValidationException,
    )
}


def injected(name: str) -> ApiError:
    """The error of that name, for a test's fault."""
    told = f"{name} by a fault of greenhouse: python -m greenhouse fault list"
    if name in ("ConflictException", "ResourceNotFoundException"):
        return INJECTED[name](told, resource_id="-", resource_type="-")
    return INJECTED[name](told)
