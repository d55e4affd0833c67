"""Asks a model once, from inside its consumer's container, which has the right to ask.

The program runs as `python3 -c` in the image, and imports only what the image has. Requests come on
stdin, as a JSON list without ids. Each reply is a line {"reply": …} on stdout.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import uuid
from typing import Any

from edge.inference.ipc import Line
from edge.inference.protocol import BadRequest
from edge.inference.settings import Nucleus

_CONNECTED_SECONDS, _ANSWER_SECONDS = 10.0, 5.0


class Heard:
    """Every message on the topic of the answers, in order."""

    def __init__(self) -> None:
        self._said: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def received(self, payload: bytes) -> None:
        self._said.put(payload)

    def too_long(self, _size: int) -> None:
        """It answers no request."""

    def unreadable(self, _bad: BadRequest) -> None:
        """It answers no request."""

    def reply_to(self, asked: str) -> Any:
        """The first reply with that id. Raises queue.Empty."""
        while True:
            reply = json.loads(self._said.get(timeout=_ANSWER_SECONDS))
            if isinstance(reply, dict) and reply.get("id") == asked:
                return reply


def main(request_topic: str, answer_topic: str) -> None:
    line, heard, ready = (
        Line(Nucleus.from_environment(os.environ), topic=answer_topic),
        Heard(),
        threading.Event(),
    )
    threading.Thread(target=line.run, args=(heard, ready.set), daemon=True).start()
    if not ready.wait(_CONNECTED_SECONDS):
        sys.exit(f"no Greengrass IPC within {_CONNECTED_SECONDS:.0f} s")
    for request in json.load(sys.stdin):
        asked = {"id": str(uuid.uuid4()), **request}
        line.post(request_topic, json.dumps(asked).encode(), lambda _: None)
        try:
            reply = heard.reply_to(asked["id"])
        except queue.Empty:
            sys.exit(f"no answer on {answer_topic} within {_ANSWER_SECONDS:.0f} s")
        sys.stdout.write(json.dumps({"reply": reply}) + "\n")
    line.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
