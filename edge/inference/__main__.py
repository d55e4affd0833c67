"""The container's entry point: python -m inference serve|check …"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

from . import log
from .check import Verdict, check
from .client import Client
from .engine import load
from .files import read_golden, read_samples
from .ipc import Line
from .program import first, run, sigterm
from .protocol import ANSWER_TOPIC, REQUEST_TOPIC
from .service import Service
from .settings import Check, Exit, Nucleus, Serve, parse

LAST_ANSWERS_SECONDS = 1.5  # of the 5 s that Java leaves between SIGTERM and SIGKILL


async def serve_main(options: Serve, nucleus: Nucleus) -> Exit:
    stop = sigterm()
    evaluator = load(options.model)
    model = evaluator.model

    def ready() -> None:
        log.event(
            "ready",
            model=model.id,
            features=model.feature_names,
            trees=model.trees,
            missing_allowed=model.missing_allowed,
        )

    line = Line(
        nucleus,
        topic=REQUEST_TOPIC,
        received=lambda payload: service.received(payload),
        opened=ready,
    )
    service = Service(
        model=model,
        predict=evaluator.predict,
        send=partial(line.publish, ANSWER_TOPIC),
    )

    async def serving() -> None:
        running = asyncio.create_task(service.run(), name="service")
        await first(asyncio.shield(running), stop.wait())
        await line.unsubscribe()
        service.stop()
        await asyncio.wait_for(running, LAST_ANSWERS_SECONDS)

    try:
        await first(line.run(), serving())
    except TimeoutError:
        log.event("answers-left-behind")
    log.event("stopped", **asdict(service.counts))
    return Exit.DONE


async def check_main(options: Check, nucleus: Nucleus) -> Exit:
    samples, golden = read_samples(options.samples), read_golden(options.golden)
    line = Line(
        nucleus,
        topic=ANSWER_TOPIC,
        received=lambda payload: client.received(payload),
        opened=lambda: log.event("asking", model=golden.model, seconds=options.timeout),
    )
    client = Client(name=f"check-{nucleus.thing}", send=partial(line.publish, REQUEST_TOPIC))
    verdict: Verdict = await first(
        check(client, samples, golden, seconds=options.timeout), line.run()
    )
    if verdict.passed:
        log.event("passed", message=verdict.message)
        return Exit.DONE
    log.event(
        "failed",
        message=verdict.message,
        row=verdict.row,
        expected=verdict.expected,
        got=verdict.got,
        difference=verdict.difference,
    )
    return Exit.FAILED


def main(arguments: Sequence[str]) -> Exit:
    options = parse(arguments)
    if isinstance(options, Serve):
        return run(partial(serve_main, options))
    return run(partial(check_main, options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
