from __future__ import annotations

from tests.edge.conftest import library

__all__ = ["library"]
