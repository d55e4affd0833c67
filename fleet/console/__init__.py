"""The web page of `make console`."""

from fleet.console.server import console

__all__ = ["console"]
