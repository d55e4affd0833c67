"""Runs the service, from loading the model to the last answer after SIGTERM."""

from __future__ import annotations

import gc
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from edge.inference.engines.loader import load

from . import log
from .memory import return_freed
from .service import Service
from .settings import Exit, Nucleus, Serve

LAST_ANSWERS_SECONDS = 1.5  # With the line's end it is below 2 s. Java waits 5 s until SIGKILL.
SUMMARY_SECONDS = 60.0  # Between two lines with stats. A period without requests has no line.


def serve(options: Serve, nucleus: Nucleus) -> Exit:
    """Serve until SIGTERM. Raises UnusableFile and Unreachable."""
    return_freed()
    with ThreadPoolExecutor(1) as beside:
        loading = beside.submit(load, options.model, options.engine)
        from .ipc import Line  # It is the slowest import. The model is unpacked at the same time.
    evaluator = loading.result()
    model = evaluator.model

    def ready() -> None:
        log.event(
            "ready",
            model=model.id,
            features=model.feature_names,
            trees=model.trees,
            missing_allowed=model.missing_allowed,
        )

    line = Line(nucleus, topic=options.channel.requests)
    signal.signal(signal.SIGTERM, lambda *_: line.stop())
    service = Service(evaluator, partial(line.post, options.channel.answers))
    threading.Thread(target=_summaries, args=(service,), daemon=True).start()
    gc.freeze()  # All objects so far stay.
    gc.enable()
    line.run(service, ready)
    deadline = time.monotonic() + LAST_ANSWERS_SECONDS
    try:
        line.unsubscribe(LAST_ANSWERS_SECONDS)
        service.finish().result(deadline - time.monotonic())
    except TimeoutError:
        service.leave()
        log.event("answers-left-behind")
    line.close()  # Open answers are lost now, and counted.
    log.event("stopped", **service.summary())
    return Exit.DONE


def _summaries(service: Service) -> None:
    told = 0
    while True:
        time.sleep(SUMMARY_SECONDS)
        if service.stats.requests != told:
            told = service.stats.requests
            log.event("summary", **service.summary(), period=service.stats.period())
