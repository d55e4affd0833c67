"""A client like an application on the device: it asks at an interval and logs the answers.

It runs in the service's image, which has the SDK, but isn't part of it: a new consumer is a new
file. It keeps running while the service and its releases change. It compares each model's later
answers with its first answers, bit for bit. The check compares them with XGBoost's.

While no answers come, it logs that and continues to ask. It reports each outage to the nucleus
once, as the component state ERRORED, and its end as RUNNING. A consumer that has heard no answer
since its start reports nothing. The Java nucleus restarts a component for ERRORED, and after three
times in an hour leaves it BROKEN until the next deployment.
"""

from __future__ import annotations

from edge.inference import end_at_sigterm

if __name__ == "__main__":  # It comes before the longer imports.
    end_at_sigterm()

import asyncio
import itertools
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from edge.inference import log
from edge.inference.check import compare
from edge.inference.client import Client, Refused, asking, confirmed
from edge.inference.files import Golden, read_samples
from edge.inference.ipc import Line
from edge.inference.program import run
from edge.inference.protocol import Answer, Record
from edge.inference.settings import (
    Channel,
    Exit,
    Nucleus,
    Parser,
    add_topics,
    channel,
    seconds,
)

ANSWER_SECONDS = 3.0  # An answer takes milliseconds. After this time it is missing.
OUTAGE = 3  # So many turns in a row without an answer are an outage.


class Consumer:
    """Sends all samples in every interval, in several requests if they are many."""

    def __init__(self, client: Client, line: Line, batches: Sequence[Sequence[Record]]) -> None:
        self._client = client
        self._line = line
        self._batches = batches
        self._unanswered = 0
        self._first: Golden | None = None  # The first answers of the answering model.
        self._in_outage = False

    async def ask_forever(self, interval: float) -> None:
        while True:
            asked = time.monotonic()
            await self._turn()
            await asyncio.sleep(max(0.0, asked + interval - time.monotonic()))

    async def _turn(self) -> None:
        asked = time.monotonic()
        try:
            answers = [
                await self._client.ask(rows, seconds=ANSWER_SECONDS) for rows in self._batches
            ]
        except Refused as exc:
            refusal = exc.refusal
            log.event(
                "refused",
                code=refusal.code,
                message=refusal.message,
                row=refusal.row,
                field=refusal.field,
            )
        except (TimeoutError, ConnectionError) as exc:
            await self._silence(str(exc) or "no answer in time")
            return
        else:
            self._answered(answers, took=time.monotonic() - asked)
        self._unanswered = 0
        if self._in_outage:
            self._in_outage = False
            await self._report("RUNNING")

    def _answered(self, answers: Sequence[Answer], *, took: float) -> None:
        # In one turn there may be two models, while a new release replaces an old one.
        groups = [
            (model, [number for answer in group for number in answer.predictions])
            for model, group in itertools.groupby(answers, key=lambda answer: answer.model)
        ]
        for model, predictions in groups:
            log.event(
                "answer",
                rows=len(predictions),
                predictions=predictions,
                model=model,
                ms=round(took * 1000, 2),
            )
        model, predictions = groups[-1]
        if len(groups) > 1 or self._first is None or self._first.model != model:
            whole = len(groups) == 1
            self._first = Golden(model=model, predictions=predictions) if whole else None
        elif not (verdict := compare(self._first, predictions)).passed:
            log.event(
                "changed",
                model=model,
                row=verdict.row,
                before=verdict.expected,
                now=verdict.got,
                difference=verdict.difference,
            )

    async def _silence(self, reason: str) -> None:
        self._unanswered += 1
        log.event("silence", unanswered=self._unanswered, reason=reason)
        if self._unanswered == OUTAGE and self._first is not None:
            self._in_outage = True
            await self._report("ERRORED")

    async def _report(self, state: str) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await confirmed(lambda sent: self._line.update_state(state, sent))
        except (TimeoutError, ConnectionError) as exc:
            log.event("state-not-reported", state=state, reason=str(exc) or "no reply in time")
        else:
            log.event("state-reported", state=state)


async def consume(samples: Path, interval: float, channel: Channel, nucleus: Nucleus) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    batches = read_samples(samples)
    await asking(
        nucleus,
        channel,
        "consumer",
        lambda client, line: [
            stop.wait(),
            Consumer(client, line, batches).ask_forever(interval),
        ],
        interval=interval,
    )
    log.event("stopped")


def program(samples: Path, interval: float, channel: Channel, nucleus: Nucleus) -> Exit:
    asyncio.run(consume(samples, interval, channel, nucleus))
    return Exit.DONE


def main(arguments: Sequence[str]) -> Exit:
    parser = Parser(prog="consumer.py", description="Asks the model at an interval")
    parser.add_argument("--samples", type=Path, required=True, metavar="PATH")
    parser.add_argument("--interval", type=seconds, required=True, metavar="SECONDS")
    add_topics(parser)
    options = parser.parse_args(arguments)
    return run(partial(program, options.samples, options.interval, channel(options)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
