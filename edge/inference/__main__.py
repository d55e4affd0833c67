"""The container's entry point: python -m edge.inference serve|check …"""

from __future__ import annotations

import gc

gc.disable()  # Until the service is ready, as objects of the start stay.

from . import end_at_sigterm

end_at_sigterm()

import sys
from collections.abc import Sequence
from functools import partial

from .program import run
from .settings import Exit, Serve, parse


def main(arguments: Sequence[str]) -> Exit:
    """Run the given command. Imports only what it needs."""
    options = parse(arguments)
    if isinstance(options, Serve):
        from .serve import serve

        return run(partial(serve, options))
    from .check import check

    return run(partial(check, options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
