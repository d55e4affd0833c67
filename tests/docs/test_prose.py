"""How documents and code read: short sentences, and a first page that stays one page."""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
MOST_WORDS = 30  # Readers have to read a longer sentence twice.
FOR_TOOLS = re.compile(r"(noqa|type|ruff|mypy|pragma): |!/|$")
BEGINS = re.compile(r"""[A-Z0-9"`]|https://""")
ENDS = re.compile(r"""[.?:]["')]*$|https://\S+$""")
_CELL = re.compile(r"\s*(?<!\\)\|\s*")
ROOMS = ("greenhouse", "recipes", "edge", "infra", "fleet", "tests")


def sentences(markdown: str) -> list[str]:
    """The prose between headings, quotes, lists' marks and code. Each table cell is by itself."""
    text = re.sub(r"```.*?```", "", markdown, flags=re.S)
    text = re.sub(r"^\s*\|.*$", lambda row: _CELL.sub("\n\n", row[0]), text, flags=re.M)
    text = re.sub(r"^\s*[>#].*$|^    .*$", "", text, flags=re.M)
    found = re.split(r"(?<=[.!?:;])\s+|\n\n|\n\s*(?:[*-]|\d+\.) ", text)
    return [" ".join(one.split()) for one in found]


def docstrings(tree: ast.Module) -> Iterator[str]:
    """The docstrings of modules, classes, functions and attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str() as text)):
                yield inspect.cleandoc(text)


def comments(source: str) -> Iterator[str]:
    """Each comment. Whole lines below each other are one comment, as one sentence runs on."""
    block: list[str] = []
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, column = token.start
        alone = not token.line[:column].strip()
        if block and not (alone and line == last + 1):
            yield "\n".join(block)
            block = []
        block.append(token.string.lstrip("#").strip())
        last = line if alone else 0
    yield "\n".join(block)


def comments_of_c(source: str) -> Iterator[str]:
    """Each comment of C, without the stars at the beginning of its lines."""
    for found in re.findall(r"/\*(.*?)\*/", source, re.S):
        yield re.sub(r"^ \*", "", found, flags=re.M).strip()


def unfinished(comment: str) -> bool:
    """Whether a comment is neither a sentence nor for a tool."""
    return not (FOR_TOOLS.match(comment) or (BEGINS.match(comment) and ENDS.search(comment)))


def test_the_pattern_finds_sentences() -> None:
    text = "# Title\n\nOne two. Three four:\n\n* five\n* six\n\n    code here\n"
    assert [one for one in sentences(text) if one] == ["One two.", "Three four:", "* five", "six"]
    table = "One.\n\n| a | b c |\n| --- | --- |\n| One. Two | a \\| b |\n"
    assert [one for one in sentences(table) if one.strip("-")] == [
        *("One.", "a", "b c"),
        *("One.", "Two", "a \\| b"),
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_sentence_has_to_be_read_twice(document: Path) -> None:
    long = [one for one in sentences(document.read_text()) if len(one.split()) > MOST_WORDS]
    assert not long, f"more than {MOST_WORDS} words: {long}"


def test_the_prose_of_code_is_found() -> None:
    source = '''"""A module."""
x: int = 1
"""An attribute."""
# One sentence
# on two lines.
y = 2  # A tail.
z = 3  # Another tail.
'''
    assert list(docstrings(ast.parse(source))) == ["A module.", "An attribute."]
    assert list(comments(source)) == ["One sentence\non two lines.", "A tail.", "Another tail."]


@pytest.mark.parametrize("room", ROOMS)
def test_no_docstring_or_comment_has_to_be_read_twice(room: str) -> None:
    long = []
    for path in sorted((ROOT / room).rglob("*.py")):
        source = path.read_text()
        for text in (*docstrings(ast.parse(source)), *comments(source)):
            found = [one for one in sentences(text) if len(one.split()) > MOST_WORDS]
            long += [f"{path.relative_to(ROOT)}: {one}" for one in found]
    assert not long, f"more than {MOST_WORDS} words: {long}"


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "tests"])
def test_a_comment_is_a_sentence(room: str) -> None:
    found = []
    for path in sorted((ROOT / room).rglob("*.py")):
        found += [(path, one) for one in comments(path.read_text())]
    for path in sorted((ROOT / room).rglob("*.[ch]")):
        found += [(path, one) for one in comments_of_c(path.read_text())]
    assert len(found) > 20
    fragments = [f"{path.relative_to(ROOT)}: {one}" for path, one in found if unfinished(one)]
    assert not fragments, "\n".join(fragments)


def test_a_fragment_is_no_sentence() -> None:
    sentences_ = [
        "Seconds.",
        "`up` does it.",
        "From\nhttps://example.com/a",
        "noqa: E501",
        "Parts:",
    ]
    assert not any(map(unfinished, sentences_))
    assert all(map(unfinished, ["seconds.", "Seconds", "in https://example.com, seconds"]))
    assert list(comments_of_c("a; /* One. */\n/* Two\n * lines. */")) == ["One.", "Two\n lines."]


def test_the_first_page_is_one_page() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 100
    assert len(text.split()) < 1000
