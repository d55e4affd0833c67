"""The greenhouse of the whole way, for what only shows on a device."""

from tests.whole.conftest import place

__all__ = ["place"]
