"""`make model`: what a data scientist's file is, and the lines that release it unchanged."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy
import pytest
import xgboost
from typer.testing import CliRunner

from edge.inference.model import model_id
from fleet import model
from fleet.__main__ import app
from infra.model.model_file import Reading, read
from infra.settings import KEYS, OF_A_RELEASE, Misconfigured
from tests.fleet.hostile import NAMES

SHIPPED = Path("edge/models/wine-quality.json")
SAMPLES = Path("edge/consumer/samples.json")


def tell(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["model", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def facts(shown: str) -> dict[str, str]:
    lines = shown.partition("\n\n")[0].splitlines()
    return {line[:16].strip(): line[16:].strip() for line in lines}


def config(shown: str) -> dict[str, str]:
    """The values that the printed lines would set, as a shell reads them."""
    lines = [line for line in shown.splitlines() if "pulumi config set" in line]
    words = [typed for line in lines if (typed := shlex.split(line, comments=True))]
    assert all(one[3] in KEYS for one in words), "the program would refuse the key"
    return {one[3]: one[-1] for one in words}


def trained(path: Path, **parameters: object) -> xgboost.Booster:
    random = numpy.random.default_rng(0)
    rows = random.random((200, 3))
    labels = (rows.sum(axis=1) * 2).astype(int) % 3
    matrix = xgboost.DMatrix(rows, labels)
    stop = parameters.pop("stop", None)
    booster = xgboost.train(
        {key: value for key, value in {"max_depth": 3, **parameters}.items() if value},
        matrix,
        num_boost_round=20,
        evals=[(xgboost.DMatrix(rows, labels[::-1]), "other")] if stop else (),
        early_stopping_rounds=5 if stop else None,
        verbose_eval=False,
    )
    booster.save_model(path)
    return booster


def test_the_shipped_model_is_told_with_all_that_it_takes() -> None:
    shown = tell("--data", str(SAMPLES), "--", str(SHIPPED))
    reading, told = read(SHIPPED, engine_name="evaluator"), facts(shown)
    assert told["id"] == model_id(reading.file), "by which status, console and the wire know it"
    assert told["kind"] == f"{reading.booster}, {reading.model.objective}"
    assert f"{reading.model.trees:,} trees of depth {reading.depth}" in told["trees"]
    assert told["features"].startswith(f"{len(reading.model.feature_names)}: fixed acidity, ")
    assert told["to the device"].endswith(f"{len(reading.file):,} unpacked")
    assert told["engine"] == "evaluator, bit for bit"
    assert told["rows"].startswith(f"{len(json.loads(SAMPLES.read_text()))} in samples.json")
    assert config(shown) == {"model": str(SHIPPED), "samples": str(SAMPLES)}


def test_the_protocol_s_example_describes_the_shipped_model_as_a_device_does() -> None:
    reading = read(SHIPPED, engine_name="evaluator")
    example = f'{{"model": "{model_id(reading.file)}", "features": [{{"name": "fixed acidity"'
    assert example in Path("docs/protocol.md").read_text()


def test_the_lines_include_what_a_model_needs_beside_its_file(tmp_path: Path) -> None:
    linear = tmp_path / "linear.ubj"
    trained(linear, booster="gblinear", max_depth=None)
    shown = tell("--", str(linear))
    assert config(shown)["engine"] == "xgboost"
    assert "xgboost: " in facts(shown)["engine"], "and why"
    stopped = tmp_path / "stopped.ubj"
    booster = trained(stopped, stop=True)
    assert booster.best_iteration < booster.num_boosted_rounds() - 1
    shown = tell("--", str(stopped))
    assert config(shown)["trees"] == "best"
    assert f"after round {booster.best_iteration + 1} " in facts(shown)["stopped early"]


def test_the_memory_is_told_as_a_need_and_set_only_if_the_default_is_too_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    default = OF_A_RELEASE["memory"]
    for needed, do in ((31, "nothing to set"), (200, "set it as below")):
        monkeypatch.setattr(model, "needed_memory", lambda *_, needed=needed, **__: needed)
        shown = tell("--", str(SHIPPED))
        assert facts(shown)["memory"] == (
            f"a container on the device needs {needed} MiB, and gets {default}: {do}"
        )
        assert config(shown).get("memory") == ("200" if "below" in do else None)


def test_a_model_of_several_outputs_says_how_many_numbers_answer_a_row(tmp_path: Path) -> None:
    trained(tmp_path / "three.json", objective="multi:softprob", num_class=3)
    shown = tell("--", str(tmp_path / "three.json"))
    assert facts(shown)["answers"] == "3 numbers a row"
    assert "model.predict_proba(X).tolist() as JSON" in shown, "predict() says the class alone"
    assert "model.predict(X).tolist() as JSON" in tell("--", str(SHIPPED))


def test_a_model_that_can_t_be_released_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04")
    with pytest.raises(Misconfigured, match="is a pickle"):
        tell("--", str(tmp_path / "model.pkl"))
    with pytest.raises(Misconfigured, match="can't be read"):
        tell("--", str(tmp_path / "none.json"))
    (tmp_path / "rows.json").write_text('[{"pH": 1}]')
    with pytest.raises(Misconfigured, match="not the model's features"):
        tell("--data", str(tmp_path / "rows.json"), "--", str(SHIPPED))


@pytest.fixture(scope="module")
def reading() -> Reading:
    return read(SHIPPED, engine_name="evaluator")


@pytest.mark.parametrize("name", [one for one in NAMES if "/" not in one and "\0" not in one])
def test_a_hostile_name_is_one_word_of_a_line_and_moves_no_cursor(
    reading: Reading, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(model, "read", lambda *_, **__: reading)
    shipped = SHIPPED.resolve()
    monkeypatch.chdir(tmp_path)
    try:
        Path(name).symlink_to(shipped)
    except OSError as error:
        pytest.skip(f"no file can be called so: {error}")
    shown = tell("--", name)
    assert all(one.isprintable() or one == "\n" for one in shown)
    if name.isprintable():
        assert config(shown)["model"] == name, "the shell would run a part of it"
