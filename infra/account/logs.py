"""What aws.greengrass.LogManager has uploaded of a component's log, on devices that run it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from botocore.exceptions import BotoCoreError, ClientError

from infra.account.clients import Clients

DAYS = 2  # how far back is looked, beside today
_SHOWN = 3  # lines: an operator sees ten without scrolling, and the reason has to be among them
_WIDTH = 200  # characters of each


def log_group(region: str, component: str) -> str:
    """Its name, by the developer guide, Log manager component."""
    return f"/aws/greengrass/UserComponent/{region}/{component}"


def uploaded(clients: Clients, thing: str, component: str, *, most: int) -> list[str]:
    """The last lines of the log, oldest first; raises ClientError where it may not be read."""
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
    """A few of these lines; none where none can be read, as what is told doesn't depend on it."""
    try:
        return [line[:_WIDTH] for line in uploaded(clients, thing, component, most=_SHOWN)]
    except (BotoCoreError, ClientError):
        return []
