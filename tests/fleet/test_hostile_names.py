"""Names and lines of others stay text wherever they are shown: page, browser, terminal."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from typing import Any

import pytest
from markdown_it import MarkdownIt
from rich.console import Console
from typer.testing import CliRunner

import fleet.__main__ as commands
from fleet import terminal
from fleet.ci.comment import body
from fleet.logs import COMMAND
from fleet.observe import Fleet
from fleet.plan import page
from fleet.plan.markdown import code, row
from fleet.status import FleetStatus, show
from greenhouse.after_up_and_down import Residue, show_residue
from tests.fleet.hostile import NAMES, SPEAKS_TO_A_TERMINAL
from tests.fleet.recording import Recording
from tests.fleet.test_console import AT, html
from tests.infra.fakes import GOOD, NAME, THING_ARN, WANTED, Account, spec

GFM = MarkdownIt("commonmark").enable(["table", "strikethrough"])
every_name = pytest.mark.parametrize("name", NAMES, ids=ascii)


def shape(markdown: str) -> list[str]:
    """A page's structure: each block and inline in order, with the text outside code spans."""
    found = []
    for block in GFM.parse(markdown):
        found.append(block.type)
        found += [
            one.type if one.type == "code_inline" else f"{one.type} {one.content}"
            for one in block.children or []
        ]
    return found


def spans(markdown: str) -> list[str]:
    return [
        one.content
        for block in GFM.parse(markdown)
        for one in block.children or []
        if one.type == "code_inline"
    ]


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    """The same value with every such name replaced, at any depth."""
    if is_dataclass(value) and not isinstance(value, type):
        changed = {one.name: renamed(getattr(value, one.name), names) for one in fields(value)}
        return replace(value, **changed)
    if isinstance(value, Mapping):
        return {renamed(key, names): renamed(one, names) for key, one in value.items()}
    if isinstance(value, tuple):
        return tuple(renamed(one, names) for one in value)
    return names.get(value, value) if isinstance(value, str) else value


def planned(name: str) -> str:
    """The page of a plan in which everything that others name has this name."""
    recording = Recording.read("drift")
    plan = recording.plan()
    [target] = plan.targets
    everything = {
        text: name
        for device in target.target.devices
        for text in (
            device.name,
            device.runtime,
            device.architecture,
            *device.drift,
            *(one.name for one in device.components),
        )
    }
    everything |= dict.fromkeys((*target.target.drift, *plan.releases, *plan.models), name)
    everything |= {change.name: name for group in target.groups for change in group.changes}
    everything |= {why: name for group in target.groups for one in group.changes for why in one.why}
    hostile = renamed(plan, everything)
    [target] = hostile.targets
    hostile = replace(
        hostile,
        findings=(name,),
        unread=(name,),
        targets=(replace(target, target=replace(target.target, strangers=(name,))),),
    )
    return page.render(hostile)


@every_name
def test_a_plan_s_page_has_the_shape_that_a_harmless_name_gives_it(name: str) -> None:
    assert shape(planned(name)) == shape(planned("harmless"))
    assert not SPEAKS_TO_A_TERMINAL & set(planned(name))


@every_name
def test_a_cell_shows_the_name_itself(name: str) -> None:
    table = "| a | b |\n|---|---|\n" + row((code(name), code("next")))
    [shown, after] = spans(table)
    assert after == "next", "it has left its cell"
    spelt = name.encode("unicode_escape", "surrogatepass").decode()
    if name.isprintable() and "\\|" not in name:
        assert shown == name
    else:
        assert shown.replace("\\x7c", "|") in (spelt.strip(), name.strip())


@every_name
def test_a_refusal_s_page_is_a_heading_a_sentence_and_plain_text(name: str) -> None:
    blocks = [one.type for one in GFM.parse(page.refusal("dev", f"{name}\nand\n\n{name}"))]
    assert [one for one in blocks if one.endswith("_open") or one == "code_block"] == [
        "heading_open",
        "paragraph_open",
        "code_block",
    ]


@every_name
def test_a_comment_is_at_most_the_page_that_it_was_given(name: str, tmp_path: Any) -> None:
    (tmp_path / "dev.md").write_text(planned(name))
    said = body(["dev"], tmp_path, "https://github.example/run")
    assert shape(said)[: len(shape(planned(name)))] == shape(planned("harmless"))


class Tags(HTMLParser):
    """The elements of a page and their attributes' names, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, list[str]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, [key for key, _ in attrs]))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.found.append(("!--", [data]))


def seen(name: str) -> FleetStatus:
    """A view of a fleet in which everything that others name has this name."""
    [target] = Recording.read("nothing").targets
    [device] = target.devices
    components = tuple(
        replace(one, name=name, version=name, state=name, reason=name, wanted=name)
        for one in device.components
    )
    timeline = tuple(
        replace(one, name=name, stack="", status="FAILED", reason=name, errors=(name,))
        for one in device.timeline
    )
    hostile = replace(
        device,
        name=name,
        runtime=name,
        nucleus=name,
        architecture=name,
        drift=(name,),
        components=components,
        timeline=timeline,
    )
    target = replace(target, stack=name, devices=(hostile,), drift=(name,), strangers=(name,))
    there = Fleet(project=name, region="eu-west-1", seen=AT, targets=(target,))
    return FleetStatus(fleets=[(there, {(name, name): name})], skipped=(name,))


def tags(name: str) -> Tags:
    class Watched:
        def look(self) -> FleetStatus:
            return seen(name)

    parser = Tags()
    parser.feed(html(Watched()))  # type: ignore[arg-type]
    return parser


@every_name
def test_the_console_s_elements_are_those_of_a_harmless_name(name: str) -> None:
    assert tags(name).found == tags("harmless").found
    assert not SPEAKS_TO_A_TERMINAL & set(tags(name).text)


def printed(what: Any) -> str:
    """What a terminal gets, without the escape sequences of rich's own colours."""
    file = io.StringIO()
    shown = terminal.console()
    shown.file, shown.width = file, 4000
    shown.print(what)
    return re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue()) if shown.is_terminal else file.getvalue()


@every_name
def test_a_status_has_as_many_lines_as_a_harmless_one_and_obeys_nothing(name: str) -> None:
    hostile, harmless = printed(show(seen(name))), printed(show(seen("harmless")))
    assert hostile.count("\n") == harmless.count("\n"), "a line was forged"
    assert not SPEAKS_TO_A_TERMINAL & set(hostile)
    if name.isprintable():
        assert name in hostile, "markup would be gone"


@every_name
def test_a_residue_s_table_shows_it(name: str) -> None:
    file = io.StringIO()
    show_residue(Console(file=file, width=400), Residue({"buckets": [name], "images": []}))
    assert not SPEAKS_TO_A_TERMINAL & set(file.getvalue())
    if name.isprintable():
        assert name in file.getvalue(), "markup would be gone"


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    account = Account.with_a_device(monkeypatch)
    account.devices["press-1"].installed = dict(GOOD)
    account.deploy(THING_ARN, NAME, {one: spec(version) for one, version in WANTED.items()})
    return account


@pytest.mark.usefixtures("account")
def test_a_log_s_lines_are_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    lines = [name.replace("\n", " ") for name in NAMES]
    log = tmp_path / "log"
    log.write_bytes("\n".join([*lines, "last"]).encode(errors="surrogateescape"))
    monkeypatch.setenv(COMMAND, f"cat {log}")
    done = CliRunner().invoke(commands.app, ["logs", "--stack", "dev"])
    assert done.exit_code == 0, done.output
    assert done.output.endswith("last\n")
    assert not SPEAKS_TO_A_TERMINAL & set(done.output)
    assert {one for one in lines if one.isprintable()} <= set(done.output.splitlines())


@pytest.mark.parametrize("command", ["plan", "rollback", "abandon-device press-1", "status"])
def test_a_command_takes_no_stack_of_such_a_name(command: str) -> None:
    for name in NAMES:
        done = CliRunner().invoke(commands.app, [*command.split(), f"--stack={name}"])
        assert "can't name a stack" in str(done.exception), ascii(name)
        assert not SPEAKS_TO_A_TERMINAL & set(str(done.exception)), ascii(name)
