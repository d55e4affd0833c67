"""greenhouse's IPC broker in a process of its own: python -m tests.bench.broker FOLDER.

It prints one line of JSON, `{"socket": …, "tokens": {component: token}}`. Then it obeys the lines
on stdin, and answers each with a line when it is done. `drop` closes every connection, as a nucleus
does that gives up on them. `drop COMPONENT` closes the connections of one component. The end of the
input ends the process. The socket itself stays, since a container has it mounted as a file.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from greenhouse.device.ipc.broker import Broker, _Wire
from greenhouse.device.ipc.connection import Connection
from infra.names import ANSWER_TOPIC, REQUEST_TOPIC, SERVICE
from infra.publish import recipe

ECHO, CLIENT = "bench.echo", "bench.client"
ECHO_REQUESTS, ECHO_ANSWERS = "bench/echo", "bench/echoed"


class Host:
    """A device with the service's own rights, and an echo with the same rights."""

    def __init__(self) -> None:
        made = recipe.service(
            "1.0.0",
            recipe.Content(
                images={},
                files=recipe.Files(uris={}),
                memory=0,
                check_timeout=0,
                consumer_interval=0,
            ),
        )
        rights: dict[str, Any] = made["ComponentConfiguration"]["DefaultConfiguration"]
        as_text = json.dumps(rights)
        for topic, instead in (
            (REQUEST_TOPIC, ECHO_REQUESTS),
            (ANSWER_TOPIC, ECHO_ANSWERS),
        ):
            as_text = as_text.replace(topic, instead)
        everything = {"everything": {"operations": ["*"], "resources": ["*"]}}
        self._configurations: dict[str, Mapping[str, Any]] = {
            SERVICE: rights,
            ECHO: json.loads(as_text),
            CLIENT: {"accessControl": {"aws.greengrass.ipc.pubsub": everything}},
        }

    def configuration(self, component: str) -> Mapping[str, Any] | None:
        return self._configurations.get(component)

    def merge_configuration(self, *_: object) -> None:
        raise AssertionError("nobody here configures anything")

    def report_state(self, *_: object) -> None:
        raise AssertionError("nobody here reports a state")


class Dropping(Broker):
    """A broker that closes its connections on demand."""

    def __init__(self, root: Path, host: Host) -> None:
        super().__init__(root, host)
        self._connections: dict[_Wire, Connection] = {}

    def connection(self, wire: _Wire) -> Connection:
        self._connections[wire] = super().connection(wire)
        return self._connections[wire]

    def lost(self, wire: _Wire) -> None:
        super().lost(wire)
        del self._connections[wire]

    def drop(self, component: str) -> None:
        for wire, connection in list(self._connections.items()):
            if component in ("", connection.component):
                wire.abort()


async def main(root: Path) -> None:
    broker = Dropping(root, Host())
    await broker.start()
    tokens = {name: broker.token(name) for name in (SERVICE, ECHO, CLIENT)}
    _say({"socket": str(broker.path), "tokens": tokens})
    while line := await asyncio.to_thread(sys.stdin.readline):
        component = line.strip().removeprefix("drop").lstrip()
        broker.drop(component)
        _say({"dropped": component})
    await broker.stop()


def _say(what: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
