"""The form of all errors for people: what happened, why, and the command that helps."""

from __future__ import annotations


class Told(Exception):
    """An error whose message is for people, not for programs."""

    def __init__(self, what: str, why: str = "", *commands: str) -> None:
        super().__init__(told(what, why, *commands))


class RolloutFailed(Told):
    """The devices don't run the release. The message says which devices, why, and what to do."""


def told(what: str, why: str = "", *commands: str) -> str:
    """A line of what happened, a line of why, and each command on a line of its own."""
    return "\n".join([what, *filter(None, [why]), *(f"    {command}" for command in commands)])
