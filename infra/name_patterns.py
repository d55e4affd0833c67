"""Checks names by the patterns of AWS, Docker and Pulumi, once, where a name is read.

It uses the standard library only: the job that comments on pull requests installs nothing.
"""

from __future__ import annotations

import re

# A stack names a repository, a bucket and a policy. ECR's pattern is the strictest of the three
# (botocore's own for RepositoryName), and Pulumi's, [A-Za-z0-9_.-]{1,100}, takes all that it takes.
_STACK = re.compile(r"(?=.{1,20}\Z)[a-z0-9]+(-+[a-z0-9]+)*")
# Greengrass refuses a colon, which IoT allows; Docker would refuse it in a container's name.
_TARGET = re.compile(r"[A-Za-z0-9_-]{1,128}")
# A component's name is Greengrass' and a container's. IPC takes more in a topic, but `*` means
# something to access control, `+` and `#` to a subscription, and Lite takes 256 bytes.
_PREFIX = re.compile(r"(?=.{1,64}\Z)(?!aws\b)[a-z0-9]+([.-][a-z0-9]+)*")
_TOPIC = re.compile(r"(?=.{1,128}\Z)[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
_ROLE = re.compile(r"[A-Za-z0-9_+=,.@-]{1,64}")  # IAM's pattern for RoleName.


def stack_trouble(name: str) -> str:
    """That no stack can have this name, and why on a second line; empty if the name is valid."""
    if _STACK.fullmatch(name):
        return ""
    return (
        f"{name!r} can't name a stack.\nIts bucket and repository take at most 20 lower-case"
        " letters, digits and hyphens between them."
    )


def target_trouble(name: str) -> str:
    """The same for a thing or a thing group that Greengrass deploys to."""
    if _TARGET.fullmatch(name):
        return ""
    return (
        f"{name!r} is no name for a device here.\nGreengrass and Docker take letters, digits, _"
        " and -, at most 128; IoT alone also takes a colon."
    )


def role_trouble(name: str) -> str:
    """The same for an IAM role's name, without ARN and path."""
    if _ROLE.fullmatch(name):
        return ""
    return (
        f"{name!r} is no name of an IAM role.\nIAM takes letters, digits and any of _+=,.@-, at"
        " most 64."
    )


def prefix_trouble(prefix: str) -> str:
    """The same for the prefix of a stack's component names."""
    if _PREFIX.fullmatch(prefix):
        return ""
    return (
        f"{prefix!r} can't begin a component's name.\nIt takes at most 64 lower-case letters and"
        " digits, with dots and hyphens between them. The prefix aws is Amazon's."
    )


def topic_trouble(topic: str) -> str:
    """The same for a topic of Greengrass IPC."""
    if _TOPIC.fullmatch(topic):
        return ""
    return (
        f"{topic!r} is no topic here.\nA topic has letters, digits, _, . and -, with single slashes"
        " between them, at most 128."
    )
