"""One event, one line, one JSON object on stdout: the nucleus adds the time and keeps the file."""

from __future__ import annotations

import json


def event(name: str, **fields: object) -> None:
    print(json.dumps({"event": name, **fields}), flush=True)
