"""Each command that an error tells to type exists, and stands on a line of its own."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from typing import TypeGuard

import botocore.session
import pytest
import typer
from botocore import xform_name

from fleet.__main__ import app as fleet
from infra.errors import told
from infra.settings import KEYS
from tests.test_imports import ROOT, modules

TOLD = {"told", "Misconfigured", "RolloutFailed", "StaysBroken", "StackExists"}  # Of infra.
TOLD |= {"NoStack", "NoLog", "NoPulumi"}  # Of fleet.
NO_COMMAND = {  # The first words of each error that no command helps, and why.
    "predictions '…', row": "the second line lists the causes, some with commands",
    "samples '…', row …: XGBoost answers": "the author chooses another row",
    "model '…' has … bytes": "the author trains another model",
    "model '…' can't be released": "the compiler's own words have the command",
    "…: ….": "the author renames features",
    "…: … is …, not a number": "the author writes another value",
    "…: … is ….": "the author writes another value",
    "…\nRename Pulumi.….yaml": "nobody should copy a hostile name into a shell",
    "… can't be read.": "the second line has the line of the file",
    "not quoted, Pulumi may read these": "it guards our own writer of stack files",
    "greenhouse needs Linux": "another machine helps",
    "…, and … can't compile it": "the second line has the address of Go",
    "the base images can't be pulled": "the engine needs a registry, in a way that we don't know",
    "no Docker engine is installed": "the second line has the address of the manual",
    "… has sha256": "the same command again helps",
}
TYPED = re.compile(r"(pulumi|make|aws|fleet) [a-z]")  # The beginning of a command.
INSIDE = re.compile(  # A command in the middle of a sentence.
    r"\b(pulumi (up|destroy|refresh|config|stack)|make [a-z-]+ [A-Z]+=|aws [a-z0-9]+ [a-z]+-)"
)
PLACEHOLDER = "…"  # It stands for what is known only at run time.
PULUMI = {
    "up",
    "destroy",
    "refresh",
    "preview",
    "login",
    "stack",
    "config",
    "plugin",
    "state",
    "import",
}
BY_HAND = {("aws", "s3"), ("aws", "configure"), ("aws", "sts")}


def text_of(node: ast.expr) -> str | None:
    """A string, with a placeholder for each part that is known only at run time."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = (
            str(part.value) if isinstance(part, ast.Constant) else PLACEHOLDER
            for part in node.values
        )
        return "".join(parts)
    return None


def texts(tree: ast.AST) -> Iterator[str]:
    """Every whole string of a module, without docstrings and sentences."""
    nodes = list(ast.walk(tree))
    joined = (one for one in nodes if isinstance(one, ast.JoinedStr))
    apart = {part for one in joined for part in one.values}
    apart |= {one.value for one in nodes if isinstance(one, ast.Expr)}
    apart |= {said for one in nodes if is_told(one) for said in one.args[:2]}
    for node in nodes:
        if isinstance(node, ast.expr) and node not in apart and (text := text_of(node)):
            yield text


def is_told(node: ast.AST) -> TypeGuard[ast.Call]:
    """Whether the call makes an error text: what happened, why, and commands."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in TOLD


@cache
def trees() -> dict[str, ast.Module]:
    rooms = ("infra", "fleet", "edge", "recipes", "greenhouse")
    return {
        name: ast.parse(path.read_text())
        for name, path in modules().items()
        if name.partition(".")[0] in rooms
    }


def commands() -> list[str]:
    """The commands in the texts: each line that begins as a command does."""
    lines = (
        line.strip()
        for tree in trees().values()
        for text in texts(tree)
        for line in text.split("\n")
    )
    return sorted({line for line in lines if TYPED.match(line)})


def words(command: str) -> list[str]:
    """The words of one command, up to what joins it to another."""
    return shlex.split(command.partition(" && ")[0].partition(";")[0], comments=True)


def test_make_has_each_target_and_each_name_that_is_given_to_it() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", text, re.M))
    [given] = re.findall(r"^GIVEN := ((?:.*\\\n)*.*)$", text, re.M)
    names = {*given.replace("\\", "").split(), "PYTHON"}
    typed = [words(one) for one in commands() if one.startswith("make ")]
    assert len(typed) > 15
    for _, target, *rest in typed:
        assert target in targets, f"make {target}"
        for one in rest:
            assert one.partition("=")[0] in names, f"make {target} {one}"


def test_pulumi_is_given_keys_that_a_stack_has() -> None:
    typed = [words(one) for one in commands() if one.startswith("pulumi ")]
    assert len(typed) > 50
    for _, command, *rest in typed:
        assert command.removesuffix(PLACEHOLDER) in PULUMI, f"pulumi {command}"
        if command == "config" and rest[:1] in (["set"], ["rm"]):
            key = key_of(rest[1:])
            of_others = key.startswith(("aws:", "aws-native:", "docker:"))
            assert not key or key in KEYS or of_others, f"pulumi config … {key}"


def key_of(words: list[str]) -> str:
    """The key after `pulumi config set`. Empty if it is known only at run time."""
    if "--stack" in words:
        at = words.index("--stack")
        words = [*words[:at], *words[at + 2 :]]
    [key, *_] = [one for one in words if not one.startswith("--")] or [PLACEHOLDER]
    return "" if PLACEHOLDER in key else re.sub(r"[.\[].*", "", key)


def test_aws_has_each_operation_with_these_parameters() -> None:
    session = botocore.session.get_session()
    typed = [words(one) for one in commands() if one.startswith("aws ")]
    asked = [one for one in typed if tuple(one[:2]) not in BY_HAND]
    assert len(asked) > 8
    for _, service, operation, *rest in asked:
        model = session.get_service_model(service)
        [name] = [one for one in model.operation_names if xform_name(one, "-") == operation]
        shape = model.operation_model(name).input_shape
        members = {xform_name(one, "-") for one in (shape.members if shape else ())}
        options = {one[2:] for one in rest if one.startswith("--")}
        assert options <= members | {"region"}, f"aws {service} {operation} {options - members}"
        assert service == "iam" or "region" in options, f"aws {service} {operation}: which region?"


def test_fleet_has_each_command() -> None:
    there = set(typer.main.get_command(fleet).commands)  # type: ignore[attr-defined]
    for one in commands():
        if one.startswith("fleet "):
            assert words(one)[1] in there, one


@pytest.mark.parametrize("room", ["infra", "fleet", "greenhouse"])
def test_a_command_stands_on_a_line_of_its_own(room: str) -> None:
    seen = 0
    for name, tree in trees().items():
        for call in filter(is_told, ast.walk(tree) if name.startswith(f"{room}.") else ()):
            seen += 1
            for argument in call.args[:2]:
                for line in (text_of(argument) or "").split("\n"):
                    inline = not TYPED.match(line.strip()) and INSIDE.search(line)
                    assert not inline, f"{name}: {line}"
    assert seen > 20


def errors(room: str) -> Iterator[tuple[str, ast.Call]]:
    """Each error of a room, with its module. greenhouse.cloud speaks AWS's words."""
    for name, tree in trees().items():
        if name.startswith(f"{room}.") and not name.startswith("greenhouse.cloud"):
            yield from ((name, call) for call in ast.walk(tree) if is_told(call))


def has_command(call: ast.Call) -> bool:
    """Whether it has a command, or passes on another error's text."""
    first = text_of(call.args[0])
    return len(call.args) > 2 or first is None or isinstance(call.args[-1], ast.Starred)


@pytest.mark.parametrize("room", ["infra", "fleet", "greenhouse"])
def test_an_error_has_a_command_or_an_argued_exception(room: str) -> None:
    bare = [(name, call) for name, call in errors(room) if not has_command(call)]
    for name, call in bare:
        text = text_of(call.args[0]) or ""
        assert text.startswith(tuple(NO_COMMAND)), f"{name}:{call.lineno}: {text}"


def test_each_exception_is_an_error() -> None:
    rooms = ("infra", "fleet", "greenhouse")
    bare = [call for room in rooms for _, call in errors(room) if not has_command(call)]
    texts_ = [text_of(call.args[0]) or "" for call in bare]
    for beginning in NO_COMMAND:
        assert any(text.startswith(beginning) for text in texts_), beginning


@pytest.mark.parametrize("room", ["infra", "fleet"])
def test_a_wrong_option_is_answered_in_the_same_form(room: str) -> None:
    for name, tree in trees().items():
        for call in ast.walk(tree) if name.startswith(f"{room}.") else ():
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "typer.BadParameter":
                assert is_told(call.args[0]), f"{name}:{call.lineno}"


def test_a_sentence_of_an_error_has_at_most_25_words() -> None:
    calls = [call for tree in trees().values() for call in filter(is_told, ast.walk(tree))]
    texts_ = [text_of(argument) or "" for call in calls for argument in call.args[:2]]
    for sentence in re.split(r"(?<=[.:;?]) |\n", "\n".join(texts_)):
        assert len(sentence.split()) <= 25, sentence


def test_an_error_is_what_happened_and_why_and_what_to_type() -> None:
    assert (
        told("no", "because", "make up", "make down") == "no\nbecause\n    make up\n    make down"
    )
    assert told("no") == "no"
    assert told("no", "", "make up") == "no\n    make up"
