"""One row through a forest: our evaluator by ctypes, and others that evaluate XGBoost's trees.

Each candidate gets its input in the form that it takes, with a different row for each call. Each
has one thread: more threads make one row slower, and OpenMP's spinning between calls would slow the
next candidate. Each must give XGBoost's answers before it is timed.
"""

from __future__ import annotations

import subprocess
import warnings
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lignum  # type: ignore[import-not-found]
import numpy as np
import onnxmltools  # type: ignore[import-not-found]  # .venv-bench has the peers
import onnxruntime  # type: ignore[import-not-found]
import timber.codegen.c99  # type: ignore[import-not-found]
import timber.frontends  # type: ignore[import-not-found]
import timber.optimizer.pipeline  # type: ignore[import-not-found]
import timber.runtime.predictor  # type: ignore[import-not-found]
import tl2cgen  # type: ignore[import-not-found]
import treelite  # type: ignore[import-not-found]
from onnxmltools.convert.common.data_types import (  # type: ignore[import-not-found]
    FloatTensorType,
)

from edge.inference.engines.json_rows import powers
from tests.bench import model
from tests.bench.evaluating.interleave import Call, interleaved
from tests.bench.table import Row, microseconds

ROWS = 1024
HARD_ROWS = 1_000_000
CLOSE = 1e-4  # The peers add in an order of their own.

BATCHES = (2, 8, 64, 1000)  # rows
DECIMALS = 100_000_000
TESTS = Path(__file__).parents[1] / "edge"

OURS, XGBOOST, ONNX, TL2CGEN, LIGNUM, TIMBER = (
    "ours",
    "XGBoost inplace_predict",
    "ONNX Runtime",
    "TL2cgen (Treelite), compiled with -O3",
    "pylignum",
    "timber-compiler, compiled with -O3",
)


def rows() -> Iterator[Row]:
    batch = model.ordinary_rows(ROWS)
    single = [batch[number : number + 1] for number in range(ROWS)]
    lists = batch.tolist()
    ours, booster = model.evaluator(), model.booster(threads=1)
    onnx, treelite_library = _onnx(), _tl2cgen()
    other, generated = lignum.load(str(model.MODEL)), _timber()
    candidates: dict[str, Call] = {
        OURS: lambda n: ours.predict([lists[n % ROWS]]),
        XGBOOST: lambda n: booster.inplace_predict(single[n % ROWS]),
        ONNX: lambda n: onnx.run(None, {"rows": single[n % ROWS]}),
        TL2CGEN: lambda n: treelite_library.predict(tl2cgen.DMatrix(single[n % ROWS])),
        LIGNUM: lambda n: other.predict(single[n % ROWS], n_jobs=1),
        TIMBER: lambda n: generated.predict(single[n % ROWS]),
    }
    differ = _differing(
        {
            ONNX: lambda block: onnx.run(None, {"rows": block})[0],
            TL2CGEN: lambda block: treelite_library.predict(tl2cgen.DMatrix(block)),
            LIGNUM: lambda block: other.predict(block, n_jobs=1),
            TIMBER: generated.predict,
        }
    )
    reference = booster.inplace_predict(batch)
    for name, call in candidates.items():
        for number in range(ROWS):
            answer = np.asarray(call(number), dtype="f4").item()
            # timber 0.6 takes other ways at thresholds. The table says for how many rows.
            if name != TIMBER and abs(answer - reference[number]) > CLOSE:
                raise AssertionError(f"{name} says {answer}, XGBoost {reference[number]}")
    times = interleaved(candidates, rounds=300)
    for name, bound in (
        (XGBOOST, 60),
        (ONNX, 1),
        (TL2CGEN, 1),
        (LIGNUM, 1),
        (TIMBER, 1),
    ):
        faster = times.times_faster(OURS, name)
        yield Row(
            what="evaluator, 1 row",
            ours=microseconds(times.median(OURS)),
            reference=f"{name}: {microseconds(times.median(name))}",
            differ=differ.get(name, ""),
            relation=f"1/{faster:.1f}",
            bound=f"at most 1/{bound}" if bound > 1 else "faster",
            met=faster > bound,
        )


def batches() -> Iterator[Row]:
    """From Python's lists, as a request's rows were before C read them."""
    ours, other = model.evaluator(), lignum.load(str(model.MODEL))
    lists = model.ordinary_rows(max(BATCHES) * 2).tolist()
    for size in BATCHES:
        runs = [lists[at : at + size] for at in range(0, len(lists) - size + 1, size)]
        candidates: dict[str, Call] = {
            OURS: lambda n, runs=runs: ours.predict(runs[n % len(runs)]),  # type: ignore[misc]
            LIGNUM: lambda n, runs=runs: other.predict(runs[n % len(runs)], n_jobs=1),  # type: ignore[misc]
        }
        times = interleaved(candidates, rounds=300)
        faster = times.times_faster(OURS, LIGNUM)
        yield Row(
            what=f"evaluator, {size:,} rows in Python's lists",
            ours=microseconds(times.median(OURS)),
            reference=f"{LIGNUM}: {microseconds(times.median(LIGNUM))}",
            relation=f"1/{faster:.2f}",
            bound="at most 1/1.5",
            met=faster >= 1.5,
        )


def numbers() -> Iterator[Row]:
    """Our exponentials, our decimals, and whole texts of records."""
    exponentials = model.scratch() / "exponentials"
    source = Path(__file__).with_name("exponentials.c")
    model.compile_c(["-O3", "-ffp-contract=off", "-o", exponentials, source, "-lm"])
    of_float, of_double = _said(exponentials)
    yield Row(
        what="exponentials of all 2^32 float32, in float32 and float64",
        ours=f"{of_float} and {of_double} differ",
        reference="this machine's libm",
        bound="0 and 0",  # On a processor with FMA. glibc's variant without FMA differs in 2.
        met=not of_float and not of_double,
    )
    decimals = model.scratch() / "decimals"
    model.compile_c(["-O3", "-o", decimals, TESTS / "decimals.c"])
    differ, unread = _said(decimals, str(DECIMALS), given=array("Q", powers()).tobytes())
    yield Row(
        what=f"{DECIMALS:,} decimals to doubles",
        ours=f"{differ} differ, {unread} unread",
        reference="this machine's strtod",
        bound="0 and 0",
        met=not differ and not unread,
    )


def _said(program: Path, *arguments: str, given: bytes = b"") -> tuple[int, int]:
    done = subprocess.run([program, *arguments], input=given, check=True, capture_output=True)
    first, second = map(int, done.stdout.split())
    return first, second


def bits() -> Iterator[Row]:
    """Every hard row alone and in a batch, which walk through the trees in different ways."""
    ours, reference = model.evaluator(), model.booster()
    differing = {"alone": 0, "in batches": 0}
    for block in np.array_split(model.hard_rows(HARD_ROWS), HARD_ROWS // 10_000):
        lists = block.tolist()
        wanted = reference.inplace_predict(block)
        answers = {
            "alone": [ours.predict([row])[0] for row in lists],
            "in batches": ours.predict(lists),
        }
        for how, got in answers.items():
            same = np.array(got, dtype="f4").view("u4") == wanted.view("u4")
            differing[how] += int(np.count_nonzero(~same))
    yield Row(
        what=f"evaluator, {HARD_ROWS:,} hard rows alone and in batches",
        ours=f"{differing['alone']} and {differing['in batches']} answers differ in a bit",
        reference=XGBOOST,
        bound="0 differ",
        met=not any(differing.values()),
    )


def _differing(peers: dict[str, Callable[[model.Rows], Any]]) -> dict[str, str]:
    """The number of hard rows that each answers differently from XGBoost."""
    reference = model.booster()
    found = dict.fromkeys(peers, 0)
    for block in np.array_split(model.hard_rows(HARD_ROWS), HARD_ROWS // 10_000):
        wanted = reference.inplace_predict(block).view("u4")
        for name, predict in peers.items():
            answers = np.ascontiguousarray(predict(block), dtype="f4").reshape(-1).view("u4")
            found[name] += int(np.count_nonzero(answers != wanted))
    return {name: f"{count:,} of {HARD_ROWS:,}" for name, count in found.items()}


def _timber() -> Any:
    """Like its own TimberPredictor.from_model, with another compiler."""
    folder = model.scratch() / "timber"
    parsed = timber.frontends.parse_model(str(model.MODEL), format_hint="xgboost")
    better = timber.optimizer.pipeline.OptimizerPipeline().run(parsed).ir
    target = timber.codegen.c99.TargetSpec()
    timber.codegen.c99.C99Emitter(target=target).emit(better).write(folder)
    library = folder / "libtimber_model.so"
    model.compile_c(["-std=c99", "-O3", "-fPIC", "-shared", "-o", library, folder / "model.c"])
    return timber.runtime.predictor.TimberPredictor.from_artifact(folder, build=False)


def _onnx() -> onnxruntime.InferenceSession:
    nameless = model.booster()
    nameless.feature_names = None  # The converter knows columns only by number.
    shape = FloatTensorType([None, len(model.model().feature_names)])
    converted = onnxmltools.convert_xgboost(
        nameless, initial_types=[("rows", shape)], target_opset=15
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        converted.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _tl2cgen() -> tl2cgen.Predictor:
    folder, library = model.scratch() / "tl2cgen", model.scratch() / "tl2cgen.so"
    with warnings.catch_warnings(action="ignore"):  # It was built against an older Treelite.
        loaded = treelite.frontend.load_xgboost_model(str(model.MODEL))
        tl2cgen.generate_c_code(loaded, dirpath=str(folder), params={})
    sources = sorted(folder.glob("*.c"))
    model.compile_c(["-std=c99", "-O3", "-fPIC", "-shared", "-o", library, *sources])
    return tl2cgen.Predictor(str(library), nthread=1)
