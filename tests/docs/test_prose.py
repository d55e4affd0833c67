"""How the documents read: short sentences, and a first page that stays one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
MOST_WORDS = 30  # of a sentence; more has to be read twice


def sentences(markdown: str) -> list[str]:
    """The prose between headings, tables, quotes, lists' marks and code."""
    text = re.sub(r"```.*?```", "", markdown, flags=re.S)
    text = re.sub(r"^\s*[|>#].*$|^    .*$", "", text, flags=re.M)
    found = re.split(r"(?<=[.!?:;])\s+|\n\n|\n\s*(?:[*-]|\d+\.) ", text)
    return [" ".join(one.split()) for one in found]


def test_the_pattern_finds_sentences() -> None:
    text = "# Title\n\nOne two. Three four:\n\n* five\n* six\n\n    code here\n"
    assert [one for one in sentences(text) if one] == ["One two.", "Three four:", "* five", "six"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_sentence_has_to_be_read_twice(document: Path) -> None:
    long = [one for one in sentences(document.read_text()) if len(one.split()) > MOST_WORDS]
    assert not long, f"more than {MOST_WORDS} words: {long}"


def test_the_first_page_is_one_page() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 100
    assert len(text.split()) < 1000
