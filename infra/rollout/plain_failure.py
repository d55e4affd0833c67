"""Shows the reason of a failed update without a traceback.

Pulumi's host of dynamic providers prints every error with `traceback.format_exc` (pulumi 3.276.0,
pulumi/dynamic/__main__.py). So the host gets another `traceback`, which prints one line for our own
failure and leaves all other errors as they are. If a later host is written differently, the reason
stands below a traceback.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from infra.errors import RolloutFailed


class _Traceback:
    """A replacement of module `traceback` for Pulumi's host."""

    def __getattr__(self, name: str) -> Any:
        return getattr(traceback, name)

    @staticmethod
    def format_exc() -> str:
        error = sys.exception()
        return str(error) if isinstance(error, RolloutFailed) else traceback.format_exc()


@contextmanager
def plain_failure() -> Iterator[None]:
    """Run a provider's work. RolloutFailed and AWS's errors are shown by their message only.

    Pulumi shows a resource's error and its printed lines in either order. Both end with the reason.
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
            f"AWS stopped answering during the wait: {error}",
            "The devices go on by themselves. Type the same again to wait for them:",
            "pulumi up",
            "pulumi destroy",
        ) from None
