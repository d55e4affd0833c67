"""A client as an application on the device would be one: asks at an interval, logs the answers.

It runs in the service's image, which has the SDK, but isn't part of it: a new consumer is a new
file. It outlives the service: while nobody answers it says so, and goes on asking.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from inference import log
from inference.client import Client, Refused
from inference.files import read_samples
from inference.ipc import Line
from inference.program import first, run, sigterm
from inference.protocol import ANSWER_TOPIC, REQUEST_TOPIC, Record
from inference.settings import Exit, Nucleus, Parser, seconds

ANSWER_SECONDS = 3.0  # an answer takes milliseconds; after this long it is silence


async def consume(samples: Path, interval: float, nucleus: Nucleus) -> Exit:
    stop = sigterm()
    batches = read_samples(samples)
    line = Line(
        nucleus,
        topic=ANSWER_TOPIC,
        received=lambda payload: client.received(payload),
        opened=lambda: log.event("ready", interval=interval),
    )
    client = Client(name=f"consumer-{nucleus.thing}", send=partial(line.publish, REQUEST_TOPIC))
    await first(line.run(), stop.wait(), ask_forever(client, batches, interval))
    log.event("stopped")
    return Exit.DONE


async def ask_forever(client: Client, batches: Sequence[Sequence[Record]], interval: float) -> None:
    """Ask for all samples every interval; they are more than one request where they are many."""
    unanswered = 0
    while True:
        asked = time.monotonic()
        try:
            answers = [await client.ask(records, seconds=ANSWER_SECONDS) for records in batches]
        except Refused as exc:
            refusal = exc.refusal
            log.event(
                "refused",
                code=refusal.code,
                message=refusal.message,
                row=refusal.row,
                field=refusal.field,
            )
            unanswered = 0
        except (TimeoutError, ConnectionError) as exc:
            unanswered += 1
            log.event("silence", unanswered=unanswered, reason=str(exc) or "no answer in time")
        else:
            took = time.monotonic() - asked
            # two models in one turn while a release takes over from another
            for model, group in itertools.groupby(answers, key=lambda answer: answer.model):
                predictions = [number for answer in group for number in answer.predictions]
                log.event(
                    "answer",
                    rows=len(predictions),
                    predictions=predictions,
                    model=model,
                    ms=round(took * 1000, 2),
                )
            unanswered = 0
        await asyncio.sleep(max(0.0, asked + interval - time.monotonic()))


def main(arguments: Sequence[str]) -> Exit:
    parser = Parser(prog="consumer.py", description="Asks the model at an interval")
    parser.add_argument("--samples", type=Path, required=True, metavar="PATH")
    parser.add_argument("--interval", type=seconds, required=True, metavar="SECONDS")
    options = parser.parse_args(arguments)
    return run(partial(consume, options.samples, options.interval))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
