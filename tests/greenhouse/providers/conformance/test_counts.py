"""docs/what-greenhouse-models.md gives the right numbers of records, and lists nothing else."""

from __future__ import annotations

import json

import pytest

from greenhouse.home import PROJECT_DIR
from tests.greenhouse.providers.conformance.recorded import FOLDER, records


@pytest.mark.parametrize(
    ("package", "short"), [("aws-native", "native"), ("docker", "docker"), ("the trace", "trace")]
)
def test_the_document_counts_what_is_replayed_and_what_is_refused(package: str, short: str) -> None:
    listed: dict[str, str] = json.loads((FOLDER / f"not-modelled-{short}.json").read_text())
    trace = json.loads((FOLDER / "trace.json").read_text())
    made = trace if short == "trace" else records(package)
    assert listed.keys() <= {record["id"] for record in made}
    assert all(listed.values()), "each has its reason"
    deadly = sum("crash" in record["response"] for record in made)
    alike = len(made) - len(listed) - deadly
    line = (
        f"* {package}: {len(made)} calls, {alike} answered alike, {len(listed)} refused, {deadly}"
        " ended the plugin."
    )
    assert line in (PROJECT_DIR / "docs/what-greenhouse-models.md").read_text()
