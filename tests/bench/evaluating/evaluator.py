"""One row through a forest: ours through ctypes, and what else evaluates XGBoost's trees.

Each candidate gets its input ready-made in the form it takes, a different row each call, and one
thread: more of them make one row slower, and OpenMP's spin between calls, which would slow whoever
comes next. Each must give XGBoost's answers before it is timed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import onnxmltools  # type: ignore[import-not-found]  # .venv-bench has the peers
import onnxruntime  # type: ignore[import-not-found]
import tl2cgen  # type: ignore[import-not-found]
import treelite  # type: ignore[import-not-found]
from onnxmltools.convert.common.data_types import (  # type: ignore[import-not-found]
    FloatTensorType,
)

from tests.bench import model
from tests.bench.evaluating.interleave import Call, interleaved
from tests.bench.table import Row, microseconds

ROWS = 1024
HARD_ROWS = 1_000_000
CLOSE = 1e-4  # the peers add in an order of their own

OURS, XGBOOST, ONNX, TL2CGEN = (
    "ours",
    "XGBoost inplace_predict",
    "ONNX Runtime",
    "TL2cgen (Treelite), compiled with -O3",
)


def rows() -> Iterator[Row]:
    batch = model.ordinary_rows(ROWS)
    single = [batch[number : number + 1] for number in range(ROWS)]
    lists = batch.tolist()
    ours, booster = model.evaluator(), model.booster(threads=1)
    onnx, treelite_library = _onnx(), _tl2cgen()
    candidates: dict[str, Call] = {
        OURS: lambda n: ours.predict([lists[n % ROWS]]),
        XGBOOST: lambda n: booster.inplace_predict(single[n % ROWS]),
        ONNX: lambda n: onnx.run(None, {"rows": single[n % ROWS]}),
        TL2CGEN: lambda n: treelite_library.predict(tl2cgen.DMatrix(single[n % ROWS])),
    }
    reference = booster.inplace_predict(batch)
    for name, call in candidates.items():
        for number in range(ROWS):
            answer = np.asarray(call(number), dtype="f4").item()
            if abs(answer - reference[number]) > CLOSE:
                raise AssertionError(f"{name} says {answer}, XGBoost {reference[number]}")
    times = interleaved(candidates, rounds=300)
    for name, bound in ((XGBOOST, 60), (ONNX, 1), (TL2CGEN, 1)):
        faster = times.times_faster(OURS, name)
        yield Row(
            what="evaluator, 1 row",
            ours=microseconds(times.median(OURS)),
            reference=f"{name}: {microseconds(times.median(name))}",
            relation=f"1/{faster:.1f}",
            bound=f"at most 1/{bound}" if bound > 1 else "faster",
            met=faster > bound,
        )


def bits() -> Iterator[Row]:
    """Every hard row alone and in a batch: the two walk through the trees in different ways."""
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


def _onnx() -> onnxruntime.InferenceSession:
    nameless = model.booster()
    nameless.feature_names = None  # the converter knows columns by number only
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
    with warnings.catch_warnings(action="ignore"):  # it was built against an older Treelite
        loaded = treelite.frontend.load_xgboost_model(str(model.MODEL))
        tl2cgen.generate_c_code(loaded, dirpath=str(folder), params={})
    sources = sorted(folder.glob("*.c"))
    model.compile_c(["-std=c99", "-O3", "-fPIC", "-shared", "-o", library, *sources])
    return tl2cgen.Predictor(str(library), nthread=1)
