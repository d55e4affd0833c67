"""Reads the part of a component's log that aws.greengrass.LogManager has uploaded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from botocore.exceptions import BotoCoreError, ClientError

from infra.account.clients import Clients
from infra.account.greengrass import LITE

DAYS = 2  # This many days before today are read.
# In lines: an operator sees about ten without scrolling, and the reason must be among them.
_SHOWN = 3
_WIDTH = 200  # In characters per line.


def on_the_device(runtime: str, component: str = "") -> str:
    """The command that shows a component's log on a device, or the nucleus' own without one."""
    if runtime == LITE:
        unit = f"ggl.{component}.service" if component else "'ggl.*'"
        return f"sudo journalctl -u {unit}"
    return f"sudo tail /greengrass/v2/logs/{component or 'greengrass'}.log"


def log_group(region: str, component: str) -> str:
    """The log group's name (developer guide, "Log manager component")."""
    return f"/aws/greengrass/UserComponent/{region}/{component}"


def uploaded(clients: Clients, thing: str, component: str, *, most: int) -> list[str]:
    """The last lines of the log, the oldest first. Raises ClientError if AWS refuses the read."""
    found: list[str] = []
    now = datetime.now(UTC)
    for ago in range(DAYS + 1):
        day = now - timedelta(days=ago)
        try:
            events = clients.logs.get_log_events(
                logGroupName=log_group(clients.region, component),
                logStreamName=f"/{day:%Y/%m/%d}/thing/{thing.replace(':', '+')}",
                limit=most - len(found),
                startFromHead=False,
            )["events"]
        except clients.logs.exceptions.ResourceNotFoundException:
            continue
        found = [*(event["message"].rstrip() for event in events), *found]
        if len(found) >= most:
            break
    return found


def last_words(clients: Clients, thing: str, component: str) -> list[str]:
    """A few of these lines for an error message; none if they can't be read."""
    try:
        return [line[:_WIDTH] for line in uploaded(clients, thing, component, most=_SHOWN)]
    except (BotoCoreError, ClientError):
        return []
