"""Each program's exit code says whose fault its end was."""

from __future__ import annotations

import bz2
import shutil
from pathlib import Path
from typing import Any

import pytest

from edge.inference.engines.forest import LIBRARY
from tests.edge.compiling import SHIPPED
from tests.edge.runtime.programs import MODEL, SAMPLES, Start, serving, serving_with


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["train"],
        ["serve"],
        ["serve", "--model"],
        ["check", "--samples", "s", "--golden", "g", "--timeout", "soon"],
        ["check", "--samples", "s", "--golden", "g", "--timeout", "0"],
        ["check", "--samples", "s", "--golden", "g", "--timeout", "nan"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_64(start: Start, arguments: list[str]) -> None:
    assert start("com.ml.xgboost", "-m", "edge.inference", *arguments).ends() == 64


def test_a_model_that_cant_be_served_is_65_and_the_log_says_why(
    start: Start, tmp_path: Path
) -> None:
    model = tmp_path / "model.json"
    packed = bz2.compress(MODEL.read_bytes())
    for content, why in (
        (None, "No such file"),
        (b"", "0 bytes"),
        (SHIPPED.read_bytes(), "no compiled forest"),
        (MODEL.read_bytes()[:-1], "cut off"),
        (packed[:-1], "cut off"),
        (packed[:1000] + bytes(1000) + packed[2000:], "packed, and broken"),
        (MODEL.read_bytes()[:2000] + b"\xff" * 4 + MODEL.read_bytes()[2004:], "broken"),
    ):
        if content is not None:
            model.write_bytes(content)
        service = serving(start, model)
        assert service.ends() == 65
        (fatal,) = service.events
        assert (fatal["event"], fatal["exit"]) == ("fatal", 65)
        assert why in fatal["message"]
        assert str(model) in fatal["message"]


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b"[1]", b'{"model": 1, "predictions": []}', b"[" * 100_000],
    ids=["empty", "no records", "an object", "a number", "no model", "too deep"],
)
def test_samples_and_golden_answers_that_cant_be_used_are_65(
    start: Start, tmp_path: Path, golden: Path, content: bytes
) -> None:
    broken = tmp_path / "broken.json"
    broken.write_bytes(content)
    for files in ((broken, golden), (SAMPLES, broken)):
        arguments = ("--samples", files[0], "--golden", files[1], "--timeout", 5)
        check = start("com.ml.check", "-m", "edge.inference", "check", *arguments)
        assert check.ends() == 65
        assert "broken.json" in check.events[-1]["message"]


def test_a_library_that_cant_be_loaded_is_65(start: Start, runtime: Path, tmp_path: Path) -> None:
    app = tmp_path / "app"
    shutil.copytree(runtime, app)
    library = app / "edge/inference/engines" / LIBRARY.name
    for break_it in (library.unlink, lambda: library.write_bytes(b"of another machine")):
        break_it()
        command = ("-m", "edge.inference", "serve", "--model", MODEL)
        service = start("com.ml.xgboost", *command, PYTHONPATH=str(app))
        assert service.ends() == 65
        (fatal,) = service.events
        assert (fatal["event"], fatal["exit"]) == ("fatal", 65)
        assert LIBRARY.name in fatal["message"]
        assert "architecture" in fatal["message"]


def test_a_fault_of_ours_is_70_and_one_line_of_the_log(start: Start) -> None:
    service = serving_with(start, "serve.load = None")
    assert service.ends() == 70, "1 would say that the check failed"
    (fatal,) = service.events
    assert (fatal["event"], fatal["exit"]) == ("fatal", 70)
    assert "not callable" in fatal["message"]
    assert "serve.py" in fatal["traceback"]


def test_no_nucleus_is_69(start: Start) -> None:
    service = start("com.ml.xgboost", "-m", "edge.inference", "serve", "--model", MODEL, SVCUID="")
    assert service.ends() == 69
    assert "SVCUID" in service.events[-1]["message"]


def test_a_nucleus_that_is_gone_for_good_is_69(start: Start, nucleus: Any) -> None:
    service = serving_with(start, "ipc.PAUSES = (0.0, 0.01, 0.02)")
    service.until("ready")
    nucleus.stop()
    assert service.ends() == 69, "only a new container gets the next nucleus' socket"
    told = [said["event"] for said in service.events if said["event"] != "sdk"]
    assert told == ["ready", *["disconnected"] * 3, "fatal"]
    assert "after 4 attempts" in service.events[-1]["message"]
