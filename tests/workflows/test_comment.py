"""One comment a pull request, however many pushes; a real HTTP server stands for GitHub."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fleet.ci.comment import MARK, MOST, body, put

RUN = "https://github.example/acme/line/actions/runs/7"


class GitHub(ThreadingHTTPServer):
    """The comments of pull request 12 of acme/line, which anybody may have written."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.comments: list[dict[str, Any]] = []
        self.tokens: set[str] = set()

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, text: str, kind: str) -> None:
        number = len(self.comments) + 1
        self.comments.append({"id": number, "body": text, "user": {"type": kind}})


class _Handler(BaseHTTPRequestHandler):
    server: GitHub

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        assert path == "/repos/acme/line/issues/12/comments"
        page = int(query.rpartition("=")[2]) - 1
        self._answer(self.server.comments[page * 100 : page * 100 + 100])

    def do_POST(self) -> None:
        self.server.add(self._body(), "Bot")
        self._answer(self.server.comments[-1])

    def do_PATCH(self) -> None:
        found = self.server.comments[int(self.path.rpartition("/")[2]) - 1]
        found["body"] = self._body()
        self._answer(found)

    def _body(self) -> str:
        text: str = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"]
        return text

    def _answer(self, content: Any) -> None:
        self.server.tokens.add(self.headers["Authorization"])
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *_: object) -> None:
        """Silence: what was asked is in `comments`."""


@pytest.fixture
def github() -> Iterator[GitHub]:
    with GitHub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_second_push_writes_over_the_first_one_s_comment(github: GitHub) -> None:
    for text in ("first", "second"):
        put(github.api, "t", "acme/line", "12", f"{MARK}\n{text}")
    assert [one["body"] for one in github.comments] == [f"{MARK}\nsecond"]
    assert github.tokens == {"Bearer t"}


def test_a_long_discussion_and_somebody_s_quote_don_t_hide_it(github: GitHub) -> None:
    github.add(f"{MARK}\nquoted by a person", "User")
    for _ in range(120):
        github.add("a remark", "User")
    github.add(f"{MARK}\nours", "Bot")
    put(github.api, "t", "acme/line", "12", f"{MARK}\nnew")
    assert [one["body"] for one in github.comments if MARK in one["body"]] == [
        f"{MARK}\nquoted by a person",
        f"{MARK}\nnew",
    ], "on the second page, and a person's words are a person's"


def test_a_stack_without_a_plan_is_named(tmp_path: Path) -> None:
    (tmp_path / "dev.md").write_text("# Plan of dev\n")
    (tmp_path / "press-3.md").touch()  # the shell makes the file before the plan is made
    said = body(["dev", "press-2", "press-3"], tmp_path, RUN)
    assert "# Plan of dev" in said
    for name in ("press-2", "press-3"):
        assert f"## {name}\n\nNo plan: [the run]({RUN}) says why." in said


def test_long_plans_share_the_room_and_say_where_they_go_on(tmp_path: Path) -> None:
    for name in ("dev", "press-2", "press-3"):
        (tmp_path / f"{name}.md").write_text(f"# {name}\n" + "one more line\n" * 9000)
    said = body(["dev", "press-2", "press-3"], tmp_path, RUN)
    assert len(said) <= MOST, "GitHub refuses a longer one"
    for name in ("dev", "press-2", "press-3"):
        assert f"# {name}\n" in said, "the last stack isn't what is cut away"
        assert f"cut here: `make plan STACK={name}` prints all, [the run]({RUN}) keeps it" in said


def test_no_stack_is_said_too(tmp_path: Path) -> None:
    assert "changes no stack" in body([], tmp_path, RUN), "or the plan of an earlier push stays"
