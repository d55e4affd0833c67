"""The service as the nucleus runs it: from the model's file to the last answer after SIGTERM."""

from __future__ import annotations

import asyncio
import gc
from functools import partial

from . import log
from .engine import load
from .ipc import Line
from .program import first, sigterm
from .protocol import ANSWER_TOPIC, REQUEST_TOPIC
from .service import Service
from .settings import Exit, Nucleus, Serve

LAST_ANSWERS_SECONDS = 1.5  # of the 5 s that Java leaves between SIGTERM and SIGKILL
SUMMARY_SECONDS = 60.0  # between two lines with the stats; none where nobody asked meanwhile


async def serve(options: Serve, nucleus: Nucleus) -> Exit:
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
    service = Service(evaluator, partial(line.post, ANSWER_TOPIC))

    async def stopped() -> None:
        await stop.wait()
        async with asyncio.timeout(LAST_ANSWERS_SECONDS):
            await line.unsubscribe()
            await asyncio.wrap_future(service.finish())

    gc.freeze()  # all of this stays
    gc.enable()
    try:
        await first(line.run(), stopped(), _summaries(service))
    except TimeoutError:
        log.event("answers-left-behind")
    log.event("stopped", **service.summary())
    return Exit.DONE


async def _summaries(service: Service) -> None:
    told = 0
    while True:
        await asyncio.sleep(SUMMARY_SECONDS)
        if service.stats.requests != told:
            told = service.stats.requests
            log.event("summary", **service.summary())
