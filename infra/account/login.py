"""Reads a stack's `aws:` keys: the region, and how to log in.

Both Pulumi providers and boto3 get their login from here, so no key is set twice. A key that one of
the three can't take is refused, because the others would work differently from it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.account.clients import Role
from infra.settings import Misconfigured

_READ = ("region", "profile", "assumeRoles", "defaultTags")
_OF_A_ROLE = ("roleArn", "externalId", "sessionName")  # Both plugins and boto3 have these names.
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/\S+")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")  # Pulumi's SDKs read them in this order.


@dataclass(frozen=True, kw_only=True)
class Login:
    """A region, and how to log in to an account."""

    region: str
    profile: str | None
    role: Role | None
    default_tags: Mapping[str, str] | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any], environment: Mapping[str, str], stack: str) -> Login:
        """The login of a stack's config, given by full key (`aws:region`). Raises Misconfigured.

        Lists and objects are Python values from YAML, or JSON texts. Without a profile the
        credentials come from the environment. Without a key the region does, as well.
        """
        rm, set_ = f"pulumi config rm --stack {stack}", f"pulumi config set --stack {stack}"
        for key in sorted(config):
            space, _, name = key.partition(":")
            if space == "aws-native":
                raise Misconfigured(
                    f"{key} isn't read.",
                    "The aws-native provider is given what the aws: keys say.",
                    f"{rm} {key}",
                )
            if space == "aws" and name not in _READ:
                raise Misconfigured(
                    f"{key} isn't read.",
                    "Only one of the two AWS providers and boto3 would know it. Put it into an AWS"
                    " profile or the environment, and remove the key:",
                    f"{rm} {key}",
                )
        region = config.get("aws:region") or next(filter(None, map(environment.get, _REGIONS)), "")
        if not region:
            raise Misconfigured(f"stack {stack} names no region.", "", f"{set_} aws:region REGION")
        return cls(
            region=str(region),
            profile=config.get("aws:profile") or None,
            role=_role(_structured(config, "aws:assumeRoles", list, rm), stack),
            default_tags=_tags(_structured(config, "aws:defaultTags", dict, rm), stack),
        )


def _structured(config: Mapping[str, Any], key: str, kind: type, rm: str) -> Any:
    value = config.get(key)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise Misconfigured(
                f"{key} is neither YAML nor JSON.", f"{error}", f"{rm} {key}"
            ) from error
    if value is not None and not isinstance(value, kind):
        named = "a list" if kind is list else "an object"
        raise Misconfigured(
            f"{key} is {json.dumps(value)}, not {named}.",
            f"Write {named} in the stack's file, or remove the key:",
            f"{rm} {key}",
        )
    return value or kind()


def _role(roles: list[Any], stack: str) -> Role | None:
    if not roles:
        return None
    set_ = f"pulumi config set --stack {stack} --path 'aws:assumeRoles[0].roleArn' ARN"
    if len(roles) > 1:
        raise Misconfigured(
            f"aws:assumeRoles names {len(roles)} roles.",
            "The aws-native provider can assume a single role. Put the chain into an AWS profile"
            " (role_arn, source_profile), and name it:",
            f"pulumi config set --stack {stack} aws:profile NAME",
        )
    [role] = roles
    if not isinstance(role, dict) or not _ROLE_ARN.fullmatch(str(role.get("roleArn"))):
        raise Misconfigured("aws:assumeRoles[0].roleArn is no ARN of an IAM role.", "", set_)
    if more := sorted(role.keys() - {*_OF_A_ROLE}):
        raise Misconfigured(
            f"aws:assumeRoles[0].{more[0]} isn't read.",
            f"It takes {', '.join(_OF_A_ROLE)}. Put the rest into an AWS profile, and name it:",
            f"pulumi config set --stack {stack} aws:profile NAME",
        )
    return Role(
        arn=role["roleArn"], external_id=role.get("externalId"), session=role.get("sessionName")
    )


def _tags(given: dict[str, Any], stack: str) -> dict[str, str] | None:
    tags = given.get("tags", {})
    if given.keys() - {"tags"} or not isinstance(tags, dict):
        raise Misconfigured(
            "aws:defaultTags isn't laid out as it should be.",
            "It holds `tags`, an object of names and values, and nothing else:",
            f"pulumi config set --stack {stack} --path 'aws:defaultTags.tags.NAME' VALUE",
        )
    return {str(name): str(value) for name, value in tags.items()} or None
