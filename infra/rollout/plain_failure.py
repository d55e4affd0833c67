"""The reason of a red update, without the traceback that would bury it.

Pulumi's host of dynamic providers shows every error by `traceback.format_exc`, whatever its class
(pulumi 3.276.0, pulumi/dynamic/__main__.py). So the host gets another `traceback`, which has one
line for our own failure and leaves all other errors as they are. A host that is written otherwise
shows the reason below a traceback.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from infra.rollout.clock import RolloutFailed


class _Traceback:
    """Module `traceback` for Pulumi's host."""

    def __getattr__(self, name: str) -> Any:
        return getattr(traceback, name)

    @staticmethod
    def format_exc() -> str:
        error = sys.exception()
        return str(error) if isinstance(error, RolloutFailed) else traceback.format_exc()


@contextmanager
def plain_failure() -> Iterator[None]:
    """Around a provider's work: RolloutFailed is told by its message, as AWS's own errors are.

    Pulumi shows a resource's error and what was printed in either order: both end in the reason.
    """
    host: Any = sys.modules["__main__"]
    if getattr(host, "traceback", None) is traceback:
        host.traceback = _Traceback()
    try:
        yield
    except RolloutFailed as failure:
        print(failure)
        raise
    except (BotoCoreError, ClientError) as error:
        print(error)
        raise RolloutFailed(
            f"AWS can't be asked any more how it goes: {error}. The devices go on by themselves;"
            " pulumi up again (or destroy) waits for them"
        ) from None
