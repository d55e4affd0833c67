"""What aws.greengrass.LogManager has uploaded of a component's log, on devices that run it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from botocore.exceptions import BotoCoreError, ClientError

from infra.clients import Clients

_SHOWN = 3  # lines: an operator sees ten without scrolling, and the reason has to be among them
_WIDTH = 200  # characters of each


def last_words(clients: Clients, thing: str, component: str) -> list[str]:
    """The last lines of today's or else yesterday's log, oldest first; none where none can be read.

    Group and stream are named in the developer guide, Log manager component.
    """
    group = f"/aws/greengrass/UserComponent/{clients.region}/{component}"
    now = datetime.now(UTC)
    for day in (now, now - timedelta(days=1)):
        stream = f"/{day:%Y/%m/%d}/thing/{thing.replace(':', '+')}"
        try:
            events = clients.logs.get_log_events(
                logGroupName=group, logStreamName=stream, limit=_SHOWN, startFromHead=False
            )["events"]
        except clients.logs.exceptions.ResourceNotFoundException:
            continue
        except (BotoCoreError, ClientError):  # what was to be told doesn't depend on it
            return []
        return [event["message"].strip()[:_WIDTH] for event in events]
    return []
