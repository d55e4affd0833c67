"""Why a deployment failed, in the nucleus' own vocabulary.

A report of a failure has a stack of codes, from general to specific, and the types of those codes:
https://docs.aws.amazon.com/greengrass/v2/developerguide/troubleshooting-deployment.html
"""

from __future__ import annotations

from enum import StrEnum

from botocore.exceptions import BotoCoreError, ClientError


class ErrorCode(StrEnum):
    """The codes that this device can find."""

    NO_AVAILABLE_COMPONENT_VERSION = "NO_AVAILABLE_COMPONENT_VERSION"
    COMPONENT_VERSION_REQUIREMENTS_NOT_MET = "COMPONENT_VERSION_REQUIREMENTS_NOT_MET"
    COMPONENT_CIRCULAR_DEPENDENCY_ERROR = "COMPONENT_CIRCULAR_DEPENDENCY_ERROR"
    COMPONENT_PACKAGE_LOADING_ERROR = "COMPONENT_PACKAGE_LOADING_ERROR"
    RECIPE_PARSE_ERROR = "RECIPE_PARSE_ERROR"
    RECIPE_MISSING_MANIFEST = "RECIPE_MISSING_MANIFEST"
    MISSING_DOCKER_APPLICATION_MANAGER = "MISSING_DOCKER_APPLICATION_MANAGER"
    MISSING_TOKEN_EXCHANGE_SERVICE = "MISSING_TOKEN_EXCHANGE_SERVICE"  # noqa: S105  # a code
    RUN_WITH_CONFIG_NOT_VALID = "RUN_WITH_CONFIG_NOT_VALID"
    NETWORK_ERROR = "NETWORK_ERROR"
    ARTIFACT_DOWNLOAD_ERROR = "ARTIFACT_DOWNLOAD_ERROR"
    ARTIFACT_CHECKSUM_MISMATCH = "ARTIFACT_CHECKSUM_MISMATCH"
    IO_ERROR = "IO_ERROR"
    IO_WRITE_ERROR = "IO_WRITE_ERROR"
    IO_UNZIP_ERROR = "IO_UNZIP_ERROR"
    DISK_SPACE_CRITICAL = "DISK_SPACE_CRITICAL"
    S3_ERROR = "S3_ERROR"
    S3_ACCESS_DENIED = "S3_ACCESS_DENIED"
    S3_HEAD_OBJECT_ACCESS_DENIED = "S3_HEAD_OBJECT_ACCESS_DENIED"
    S3_GET_OBJECT_RESOURCE_NOT_FOUND = "S3_GET_OBJECT_RESOURCE_NOT_FOUND"
    DOCKER_ERROR = "DOCKER_ERROR"
    DOCKER_ARTIFACT_URI_NOT_VALID = "DOCKER_ARTIFACT_URI_NOT_VALID"
    DOCKER_SERVICE_UNAVAILABLE = "DOCKER_SERVICE_UNAVAILABLE"
    DOCKER_PULL_ERROR = "DOCKER_PULL_ERROR"
    GET_ECR_CREDENTIAL_ERROR = "GET_ECR_CREDENTIAL_ERROR"
    COMPONENT_UPDATE_ERROR = "COMPONENT_UPDATE_ERROR"
    COMPONENT_BROKEN = "COMPONENT_BROKEN"


_TYPES = {
    ErrorCode.COMPONENT_VERSION_REQUIREMENTS_NOT_MET: "REQUEST_ERROR",
    ErrorCode.COMPONENT_CIRCULAR_DEPENDENCY_ERROR: "REQUEST_ERROR",
    ErrorCode.RECIPE_PARSE_ERROR: "COMPONENT_RECIPE_ERROR",
    ErrorCode.RECIPE_MISSING_MANIFEST: "COMPONENT_RECIPE_ERROR",
    ErrorCode.MISSING_DOCKER_APPLICATION_MANAGER: "REQUEST_ERROR",
    ErrorCode.MISSING_TOKEN_EXCHANGE_SERVICE: "REQUEST_ERROR",
    ErrorCode.RUN_WITH_CONFIG_NOT_VALID: "REQUEST_ERROR",
    ErrorCode.NETWORK_ERROR: "NETWORK_ERROR",
    ErrorCode.ARTIFACT_CHECKSUM_MISMATCH: "COMPONENT_RECIPE_ERROR",
    ErrorCode.IO_WRITE_ERROR: "DEVICE_ERROR",
    ErrorCode.IO_UNZIP_ERROR: "DEVICE_ERROR",
    ErrorCode.DISK_SPACE_CRITICAL: "DEVICE_ERROR",
    ErrorCode.S3_ERROR: "DEPENDENCY_ERROR",
    ErrorCode.S3_ACCESS_DENIED: "PERMISSION_ERROR",
    ErrorCode.S3_HEAD_OBJECT_ACCESS_DENIED: "PERMISSION_ERROR",
    ErrorCode.S3_GET_OBJECT_RESOURCE_NOT_FOUND: "REQUEST_ERROR",
    ErrorCode.DOCKER_ERROR: "DEPENDENCY_ERROR",
    ErrorCode.DOCKER_ARTIFACT_URI_NOT_VALID: "COMPONENT_RECIPE_ERROR",
    ErrorCode.DOCKER_SERVICE_UNAVAILABLE: "DEPENDENCY_ERROR",
    ErrorCode.DOCKER_PULL_ERROR: "DEPENDENCY_ERROR",
    ErrorCode.GET_ECR_CREDENTIAL_ERROR: "PERMISSION_ERROR",
    ErrorCode.COMPONENT_BROKEN: "USER_COMPONENT_ERROR",
}


class DeploymentFailed(Exception):
    """The deployment can't be done. The message is its failure cause."""

    def __init__(self, cause: str, *codes: ErrorCode) -> None:
        super().__init__(cause)
        self.codes = codes

    @property
    def stack(self) -> list[str]:
        """`errorStack`: from the general code to the specific one."""
        return ["DEPLOYMENT_FAILURE", *self.codes]

    @property
    def types(self) -> list[str]:
        """`errorTypes`: each type once, in the stack's order."""
        return list(dict.fromkeys(_TYPES[code] for code in self.codes if code in _TYPES))

    def reason(self, detail: str) -> str:
        """`reason` of an effective deployment: most specific code, outcome, and cause."""
        return f"{self.stack[-1]}: {detail}: {self}"


AWS_ERRORS = (BotoCoreError, ClientError)


def aws_code(error: Exception) -> str:
    """The error's AWS name, such as `AccessDenied`. Empty if the error isn't AWS' answer."""
    return error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
