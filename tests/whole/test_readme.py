"""The newcomer's way: README's own lines, one after the other, in a checkout of their own.

The lines come from the document, so the test types what a reader types.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from greenhouse import docker_engine, toolchain
from greenhouse.account import TENANT
from greenhouse.home import Home, Ports
from greenhouse.start_and_stop import stop_greenhouse
from tests.whole.place import STACK, copy_tree
from tests.whole.readme import lines

pytestmark = pytest.mark.whole

# With a name the engine counts as somebody's own, and `make down` leaves it running for other
# tests.
ENGINE = "unix:///var/run/docker.sock"


@dataclass(frozen=True)
class Read:
    """What a reader typed and saw, and the stack's file before and after."""

    lines: list[str]
    shown: list[str]
    before: str
    after: str
    home: Home
    ports: Ports
    thing: str

    def printed(self, line: str) -> list[str]:
        """What each run of this line printed, in order."""
        found = [seen for typed, seen in zip(self.lines, self.shown, strict=True) if typed == line]
        assert found, f"README no longer says `{line}`"
        return found


@pytest.fixture(scope="module")
def read(tools: toolchain.Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Read]:
    root = tmp_path_factory.mktemp("readme")
    tree, home = copy_tree(root / "tree"), Home(root / "greenhouse")
    # Containers carry it, and the machine's own device has another name.
    thing = f"readme-{secrets.token_hex(3)}"
    stack = tree / f"Pulumi.{STACK}.yaml"
    before = stack.read_text().replace("thing: greenhouse\n", f"thing: {thing}\n")
    stack.write_text(before)
    ports = home.ports()  # The test needs them after the home has been removed.
    typed = lines("Try it")
    files = [root / f"{number}.txt" for number in range(len(typed))]
    script = "".join(
        f"{{ {line}\n}} > {file} 2>&1\n" for line, file in zip(typed, files, strict=True)
    )
    login = {name: os.environ[name] for name in os.environ if name.startswith(("HOME", "XDG_"))}
    try:
        done = subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=tree,
            env={
                **login,
                "PATH": os.environ["PATH"],
                "DOCKER_HOST": tools.docker_host or ENGINE,
                "GREENHOUSE_HOME": str(home.root),
            },
            check=False,
        )
        shown = [file.read_text() for file in files if file.exists()]
        assert done.returncode == 0, f"{typed[len(shown) - 1]}\n{shown[-1]}"
        yield Read(typed, shown, before, stack.read_text(), home, ports, thing)
    finally:
        if home.exists():
            stop_greenhouse(home)


def model(shown: str) -> str:
    """The id of the device's model in the output of `make up`."""
    [found] = re.findall(r"^ *model +([0-9a-f]{12}) *$", shown, re.M)
    return str(found)


def versions(shown: str) -> list[str]:
    """The versions of our components in the output of `make up`."""
    found: list[str] = re.findall(r"com\.ml\.\w+ +(\d+\.\d+\.\d+) ", shown)
    assert len(found) == 3, shown
    return found


def answers(shown: str) -> list[str]:
    """The device's answer to each sample, on lines that end in XGBoost's words and a verdict."""
    rows = re.findall(r"│ +(\d+\.\d+) │ +(\d+\.\d+) │ (\w+) +│$", shown, re.M)
    assert rows, shown
    assert all(verdict == "equal" and ours == theirs for ours, theirs, verdict in rows), shown
    return [ours for ours, _, _ in rows]


def test_a_newcomer_reaches_the_answers_changes_the_model_and_comes_back(read: Read) -> None:
    first, second = read.printed("make up")
    assert model(first) != model(second)
    assert answers(first) != answers(second)
    assert "there before us, kept" in first, "everything else on the device stays"
    [kept] = read.printed("make rollback")
    newest, older = re.findall(r"^(r[0-9a-f]{8}) (.+)", kept, re.M)
    assert model(second) in newest[1]
    assert newest[1].rstrip().endswith(read.thing), "the list says which device runs it"
    assert model(first) in older[1]
    [back] = read.printed("make rollback RELEASE=previous")
    assert re.search(rf"to {older[0]} \(model .*{model(first)}", back)
    assert re.search(r"^ +~ +\d+ updated\n +\+-1 replaced", back, re.M), "a deployment, no more"
    now = read.printed("make status")[1]
    assert all(version in now for version in versions(first)), "the first release runs again"


def test_make_up_shows_the_resources_and_no_line_of_their_tools(read: Read) -> None:
    for shown in read.printed("make up"):
        update = shown[: shown.index(f"device {read.thing}")]
        # After 30 s, each line that says that it goes on has a tool's last words.
        update = re.sub("^  … .*\n", "", update, flags=re.M)
        assert not re.search(r"sha256:|^.*#\d+ |: Push|WARNING", update), update
        assert len(re.findall(f"^  {read.thing}: COMPLETED", update, re.M)) == 1, update
        assert re.search(r"^  resources: ", update, re.M), update
    first, second = read.printed("make up")
    assert first.count(" created") > second.count(" replaced") > 0
    assert "docker:index:Image" in first, "the image itself is shown"
    assert "docker:index:Image" not in second, "and only where it changes"


def test_the_plan_says_what_the_new_model_changes(read: Read) -> None:
    [plan] = read.printed("make plan")
    first, second = map(model, read.printed("make up"))
    assert f"model `com.ml` `{first}` → `{second}`" in plan
    changed = re.findall(r"^\| changed \| `(\S+)`", plan, re.M)
    assert changed == ["com.ml.check", "com.ml.xgboost"], "two components, as README says"
    assert re.search(r"\d kB of files, no image layer", plan), "no image, as README says"


def test_status_and_logs_show_what_runs(read: Read) -> None:
    second = read.printed("make up")[1]
    status, _ = read.printed("make status")
    assert f"{read.thing} answered" in status
    assert all(version in status for version in versions(second)), status
    [log] = read.printed("make logs COMPONENT=com.ml.consumer")
    assert f'"model": "{model(second)}"' in log


def test_nothing_is_left(read: Read) -> None:
    [down] = read.printed("make down")
    assert f"{TENANT} on {read.thing}, there before us: RUNNING" in down
    left = down[down.index("what is left") : down.index("how long")]
    kinds = dict(re.findall(r"^ +(\w[\w ]*?)  +(\S.*?) *$", left, re.M))
    assert {"containers", "images", "buckets", "repositories", "role policies"} < kinds.keys()
    assert {"components", "deployments"} < kinds.keys(), "the last to go, and ours until then"
    assert set(kinds.values()) == {"none"}, left
    assert not docker_engine.images(read.ports), "the engine outlives this greenhouse"
    assert not read.home.root.exists()
    assert read.after == read.before, "the stack's file is as it came"
