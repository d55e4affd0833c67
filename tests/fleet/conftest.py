"""The greenhouse of the whole way, for what only a device shows."""

from tests.whole.conftest import place

__all__ = ["place"]
