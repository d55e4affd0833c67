"""`make up` is done when each component is up at its version, and has answered since."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from greenhouse.account import TENANT
from greenhouse.after_up_and_down import Residue, _show_answers, amiss, answers_to, show_residue

BEGAN = datetime(2026, 11, 27, 12, tzinfo=UTC)
GOLDEN = {"model": "abc", "predictions": [5.0, 6.0]}


def logged(path: Path, **said: Any) -> Path:
    """A consumer's log with one answer, as the device writes it."""
    answer = {
        "time": (BEGAN + timedelta(seconds=1)).isoformat(timespec="milliseconds"),
        "event": "answer",
        **GOLDEN,
        **said,
    }
    path.write_text(f"2026 [INFO] (Copier) com.ml.consumer: stdout. {json.dumps(answer)}. {{}}\n")
    return path


def test_an_answer_to_these_samples_given_since_the_command_began_counts(tmp_path: Path) -> None:
    log = logged(tmp_path / "log", predictions=[5.0, 7.0])
    [answer] = answers_to(log, GOLDEN, since=BEGAN)
    assert answer["predictions"] == [5.0, 7.0], "a wrong answer is shown as well, and fails"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"time": "2026-11-27T11:59:59.999+00:00"}, "the device may be silent by now"),
        ({"model": "abd"}, "another model's"),
        ({"predictions": [5.0]}, "to other samples: there is no telling which is which"),
    ],
)
def test_any_other_answer_counts_for_nothing(
    tmp_path: Path, said: dict[str, Any], why: str
) -> None:
    assert not answers_to(logged(tmp_path / "log", **said), GOLDEN, since=BEGAN), why


def test_a_component_counts_that_is_up_at_its_version() -> None:
    installed = [
        {"componentName": name, "componentVersion": version, "lifecycleState": state}
        for name, version, state in (
            ("runs", "1.0.0", "RUNNING"),
            ("is-over", "1.0.0", "FINISHED"),
            ("old", "0.9.0", "RUNNING"),
            ("broken", "1.0.0", "BROKEN"),
            ("not-ours", "1.0.0", "BROKEN"),
        )
    ]
    wanted = dict.fromkeys(("runs", "is-over", "old", "broken", "absent"), "1.0.0")
    assert amiss(installed, wanted) == [
        "old 1.0.0 should be up, but the device has 0.9.0 RUNNING",
        "broken 1.0.0 should be up, but the device has 1.0.0 BROKEN",
        "absent 1.0.0 should be up, but the device has none",
    ]


def test_the_answers_are_shown_with_the_models_own_features() -> None:
    console = Console(record=True, width=160, file=io.StringIO())
    samples = [{f"sensor [{number}]": number + 0.5 for number in range(7)}]
    answer = {"ms": 2, "predictions": [5.0]}
    assert _show_answers(console, answer, [5.0], samples)
    shown = console.export_text()
    assert "sensor [0]" in shown, "a name is no markup"
    assert "sensor [5]" not in shown
    assert "5 of 7 features are shown" in shown
    assert "4.5" in shown


def test_the_inventory_says_what_it_leaves_out() -> None:
    """The destroy has just said that a deployment keeps the tenant."""
    console = Console(record=True, width=160, file=io.StringIO())
    show_residue(console, Residue({"deployments": []}))
    heading, deployments = console.export_text().splitlines()
    assert heading.rstrip() == f"what is left besides {TENANT}"
    assert deployments.split() == ["deployments", "none"]
