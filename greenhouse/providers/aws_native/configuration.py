"""The configuration of a provider instance of aws-native: region, keys, account, tags.

If the real plugin refuses a setting too, the refusal has the plugin's words.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore import exceptions as boto
from botocore.configloader import load_config

from greenhouse.providers.aws_clients import AwsClients
from greenhouse.providers.aws_native.cloudcontrol import ATTEMPTS, NO_CREDENTIALS, ControlClient
from greenhouse.providers.protocol.wire import Properties
from infra.errors import told

_NO_REGION = (
    'missing required configuration key "aws-native:region":The region where AWS operations will'
    " take place. Examples are eu-east-1, eu-west-2, etc.\n\tSet a value using the command `pulumi"
    " config set aws-native:region <value>`, or by setting the environment variables `AWS_REGION`"
    " or `AWS_DEFAULT_REGION`."
)
_ISSUES = "https://github.com/pulumi/pulumi-aws-native/issues/"
# Settings that the plugin refuses, each with the plugin's own issue. The second kind is refused
# only if it is false.
_NEVER = {"ignoreTags": 110, "insecure": 111, "skipRequestingAccountId": 118}
_ONLY_TRUE = {"skipGetEc2Platforms": 115, "skipMetadataApiCheck": 116, "skipRegionValidation": 117}
# Go's decoder has these names for kinds of JSON values.
_GO_WORDS: Mapping[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "bool",
    int: "number",
    float: "number",
    type(None): "null",
}


class Refused(Exception):
    """The engine gets this message, and nothing was changed."""


@dataclass(frozen=True, kw_only=True)
class Configured:
    """The configuration of one provider instance."""

    region: str
    control: ControlClient
    sts: Any
    default_tags: Mapping[str, str]


def unsupported(settings: Properties) -> Iterator[tuple[str, str]]:
    """The settings that the plugin doesn't take, each with its reason."""
    wrong = {name: issue for name, issue in _NEVER.items() if name in settings}
    wrong |= {name: issue for name, issue in _ONLY_TRUE.items() if settings.get(name) is False}
    for name, issue in sorted(wrong.items()):
        yield name, f"not yet implemented. See {_ISSUES}{issue}"


def configure(
    given: Mapping[str, str],
    environment: Mapping[str, str],
    clients: AwsClients,
    cancelled: threading.Event,
) -> Configured:
    """A provider instance from its settings and the program's environment. Raises Refused."""
    region = given.get("region")
    if region is None:
        region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    if region is None:
        raise Refused(_NO_REGION)
    if "assumeRole" in given:
        raise Refused(
            told(
                "aws-native:assumeRole: greenhouse has no roles to assume.",
                "Remove it from this stack:",
                "pulumi config rm aws-native:assumeRole",
            )
        )
    keys = _keys(given, environment)
    if "endpoints" in given:
        _go_json("endpoints", given["endpoints"], dict, "map[string]string")
    attempts = _number(given["maxRetries"]) if "maxRetries" in given else ATTEMPTS
    skip = given.get(
        "skipCredentialsValidation", environment.get("AWS_SKIP_CREDENTIALS_VALIDATION")
    )
    tags: Any = {}
    if "defaultTags" in given:
        tags = _go_json("defaultTags", given["defaultTags"], dict, "map").get("tags") or {}
    if "autoNaming" in given:
        _go_json("autoNaming", given["autoNaming"], dict, "autonaming")
    configured = Configured(
        region=region,
        control=ControlClient(
            client=keys and clients.client("cloudcontrol", region or "none", keys),
            attempts=attempts,
            role_arn=given.get("roleArn"),
            cancelled=cancelled,
        ),
        sts=lambda: _identity(clients, keys, region or "none", attempts),
        default_tags=tags,
    )
    if skip != "true":
        _check_account(configured.sts(), given)
    return configured


def _identity(clients: AwsClients, keys: tuple[str, str] | None, region: str, attempts: int) -> str:
    what = "could not get AWS account ID: operation error STS: GetCallerIdentity"
    if keys is None:
        raise Refused(f"{what}, {NO_CREDENTIALS}")
    client = clients.client("sts", region, keys, attempts=attempts)
    try:
        return str(client.get_caller_identity()["Account"])
    except boto.ClientError as error:
        answer, meta = error.response["Error"], error.response["ResponseMetadata"]
        raise Refused(
            f"{what}, https response error StatusCode: {meta['HTTPStatusCode']},"
            f" RequestID: {meta.get('RequestId', '')}, api error"
            f" {answer['Code']}: {answer.get('Message', '')}"
        ) from error
    except (boto.EndpointConnectionError, boto.HTTPClientError) as error:
        url = client.meta.endpoint_url
        raise Refused(
            f"{what}, exceeded maximum number of attempts, {attempts}, https response error"
            f' StatusCode: 0, RequestID: , request send failed, Post "{url}/": dial tcp'
            f" {url.partition('://')[2]}: connect: connection refused"
        ) from error


def _keys(given: Mapping[str, str], environment: Mapping[str, str]) -> tuple[str, str] | None:
    """The key to sign with: the provider's own, the environment's, or the profile's."""
    if given.get("accessKey") or given.get("secretKey"):
        return given.get("accessKey", ""), given.get("secretKey", "")
    profile = given.get("profile") or environment.get("AWS_PROFILE")
    found: Mapping[str, Any] = {}
    if profile:
        profiles = _profiles(environment)
        if profile not in profiles:
            raise Refused(
                f"could not load AWS config: failed to get shared config profile, {profile}"
            )
        found = profiles[profile]
        source = found.get("source_profile")
        if source and source not in profiles:
            raise Refused(
                f"could not load AWS config: failed to load assume role {found.get('role_arn')},"
                f" of profile {source}, failed to get shared config profile, {source}"
            )
        if "role_arn" in found:
            raise Refused(
                f"profile {profile} assumes {found['role_arn']}, and greenhouse has no roles to"
                " assume. Name a profile with keys."
            )
    for keys in (
        (environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")),
        (found.get("aws_access_key_id"), found.get("aws_secret_access_key")),
    ):
        if keys[0] and keys[1]:
            return keys[0], keys[1]
    return None


def _profiles(environment: Mapping[str, str]) -> dict[str, Any]:
    home = environment.get("HOME", "~")
    profiles: dict[str, Any] = {}
    for variable, usual in (
        ("AWS_CONFIG_FILE", f"{home}/.aws/config"),
        ("AWS_SHARED_CREDENTIALS_FILE", f"{home}/.aws/credentials"),
    ):
        path = Path(environment.get(variable, usual)).expanduser()
        if path.is_file():
            read = load_config(str(path))
            for name, values in read["profiles"].items():
                profiles.setdefault(name, {}).update(values)
    return profiles


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise Refused(
            f'invalid config value for \'maxRetries\': "{text}": strconv.Atoi: parsing "{text}":'
            " invalid syntax"
        ) from error


def _check_account(number: str, given: Mapping[str, str]) -> None:
    allowed = given.get("allowedAccountIds")
    if allowed is not None and number not in _account_ids("allowedAccountIds", allowed):
        raise Refused(f"account ID not allowed ({number})")
    forbidden = given.get("forbiddenAccountIds", "[]")
    if number in _account_ids("forbiddenAccountIds", forbidden):
        raise Refused(f"forbidden account ID ({number})")


def _account_ids(name: str, text: str) -> list[str]:
    return [str(one) for one in _go_json(name, text, list, "[]string")]


def _go_json(name: str, text: str, kind: type, go_type: str) -> Any:
    """A setting that is JSON. Its errors have the words of Go's decoder."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise Refused(
            f"failed to unmarshal '{name}' config: invalid character '{text[:1]}' looking for"
            " beginning of value"
        ) from error
    if not isinstance(found, kind):
        raise Refused(
            f"failed to unmarshal '{name}' config: json: cannot unmarshal {_GO_WORDS[type(found)]}"
            f" into Go value of type {go_type}"
        )
    return found
