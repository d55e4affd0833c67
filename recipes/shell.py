"""Reads what a recipe's script does, as far as that is possible without running it.

This is not a shell. It splits a script into its simple commands, and reads `docker run` as docker
does. It ignores what it can't follow (quoted scripts inside scripts, functions).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

_OPERATORS = ";|&()\n"
_JOINED = re.compile(r"\d*[<>]&\d")  # As in `2>&1`.
_SPACED = re.compile(r"(?<=[<>])[ \t]+")  # As in `> file`.
_INTRODUCTIONS = frozenset({"if", "then", "else", "elif", "while", "until", "do", "!", "exec"})

# Options without a value: https://docs.docker.com/reference/cli/docker/container/run/
_FLAGS = frozenset(
    {
        *("--detach", "--disable-content-trust", "--help", "--init", "--interactive"),
        *("--no-healthcheck", "--oom-kill-disable", "--privileged", "--publish-all", "--quiet"),
        *("--read-only", "--rm", "--sig-proxy", "--tty", "--use-api-socket"),
    }
)
_SHORT_FLAGS = "ditPq"
_LONG = {"-d": "--detach", "-e": "--env", "-t": "--tty", "-u": "--user", "-v": "--volume"}
_NO = frozenset({"0", "f", "F", "false", "False", "FALSE"})  # As Go reads a flag's value.

# Docker's own options with a value: https://docs.docker.com/reference/cli/docker/
_OF_DOCKER = frozenset({"--config", "-c", "--context", "-H", "--host", "-l", "--log-level"})


@dataclass(frozen=True, kw_only=True)
class Command:
    """A simple command: its words, without prefixes, and the operator before it."""

    words: tuple[str, ...]
    after: str  # Empty for the first command, otherwise "\n", ";", "&&", "||", "|", ….
    replaces_shell: bool  # The command is `exec`.

    @property
    def name(self) -> str:
        return PurePosixPath(self.words[0]).name if self.words else ""


@dataclass(frozen=True, kw_only=True)
class DockerRun:
    """`docker run OPTIONS IMAGE ARGUMENTS`, with short options under their long names."""

    options: tuple[tuple[str, str], ...]  # Such as ("--env", "SVCUID").
    image: str  # "" if there is none.
    arguments: tuple[str, ...]

    def has(self, option: str) -> bool:
        """Whether the option is given, and not as `--option=false`."""
        return any(
            name == option and not (option in _FLAGS and value in _NO)
            for name, value in self.options
        )

    def values(self, *options: str) -> list[str]:
        return [value for name, value in self.options if name in options]


def commands(script: str) -> list[Command]:
    """The simple commands of a script, in order."""
    found: list[Command] = []
    for operator, words in _groups(script):
        own = list(words)
        while own and (own[0] in _INTRODUCTIONS or re.fullmatch(r"\w+=.*", own[0])):
            own.pop(0)
        if own:
            replaces = "exec" in words[: -len(own)]
            found.append(Command(words=tuple(own), after=operator, replaces_shell=replaces))
    return found


def docker_runs(script: str) -> list[DockerRun]:
    """Every `docker run` or `docker container run` in a script, even behind sudo."""
    return [
        _docker_run(words)
        for command in commands(script)
        for at, word in enumerate(command.words)
        if PurePosixPath(word).name == "docker"
        and (words := _after_run(list(command.words[at + 1 :]))) is not None
    ]


def unquoted(script: str, pattern: re.Pattern[str]) -> Iterator[str]:
    """Each match of a pattern that begins outside quotes and comments."""
    quote, at = "", 0
    while at < len(script):
        letter, step = script[at], 1
        if letter == "\\" and quote != "'":
            step = 2
        elif quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "#" and (at == 0 or script[at - 1] in " \t\n;"):
            step = len(script[at:].partition("\n")[0])
        elif match := pattern.match(script, at):
            yield match[0]
            step = max(len(match[0]), 1)
        at += step


def _groups(script: str) -> Iterator[tuple[str, list[str]]]:
    """Words between operators, with the operator before them."""
    operator, comment = "", False
    words: list[str] = []
    for token in _tokens(_SPACED.sub("", _JOINED.sub(" ", script.replace("\\\n", " ")))):
        is_operator = bool(token) and set(token) <= set(_OPERATORS)
        comment = not (is_operator and "\n" in token) and (comment or token.startswith("#"))
        if comment:
            continue
        if is_operator:
            if words:
                yield operator, words
                operator, words = "", []
            operator = (operator + token).strip() or "\n"
        elif not re.match(r"\d*[<>]", token):  # A redirection.
            words.append(token)
    if words:
        yield operator, words


def _tokens(script: str) -> list[str]:
    lexer = shlex.shlex(script, posix=True, punctuation_chars=_OPERATORS)
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    try:
        return list(lexer)
    except ValueError:  # An unclosed quote, which the shell would refuse as well.
        return script.split()


def _after_run(words: list[str]) -> list[str] | None:
    """What follows `run` in the words after `docker`, or None if docker does something else."""
    while words and words[0].startswith("-"):
        del words[: 2 if words[0] in _OF_DOCKER else 1]
    if words[:1] == ["container"]:
        del words[0]
    return words[1:] if words[:1] == ["run"] else None


def _docker_run(words: list[str]) -> DockerRun:
    options: list[tuple[str, str]] = []
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word == "--":  # The end of the options.
            break
        if word.startswith("--"):
            name, given, value = word.partition("=")
            if not given and name not in _FLAGS and words:
                value = words.pop(0)
            options.append((name, value))
        else:
            options += _short_options(word[1:], words)
    return DockerRun(
        options=tuple(options), image=words[0] if words else "", arguments=tuple(words[1:])
    )


def _short_options(letters: str, words: list[str]) -> Iterator[tuple[str, str]]:
    """Read `-it`, `-it=false`, `-p80:80`, `-dp 80:80`: flags, and at most one option with a value.

    The value is what follows its letter, or else the next of the words, which is taken.
    """
    while letters:
        letter, letters = letters[0], letters[1:]
        name = _LONG.get(f"-{letter}", f"-{letter}")
        if letters.startswith("="):
            yield name, letters[1:]
            return
        if letter in _SHORT_FLAGS:
            yield name, ""
        else:
            yield name, letters or (words.pop(0) if words else "")
            return
