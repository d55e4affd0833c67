"""Records previews and look-ups of a real engine on greenhouse, for the tests of the page.

python -m tests.fleet.recording records all of them again, with their pages
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fleet.observe import Target
from fleet.plan import account_facts, page, preview
from fleet.plan.account_facts import AccountFacts
from fleet.plan.plan import FailOn, Plan
from fleet.plan.plan import plan as plan_of
from fleet.plan.stack_change import StackChange
from fleet.stacks import Stack

FOLDER = Path(__file__).with_name("recorded")
_NOISE = {"stackTrace", "sourcePosition", "created", "modified", "__provider"}


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The input of a plan."""

    preview: str
    targets: tuple[Target, ...]
    account_facts: AccountFacts

    @classmethod
    def read(cls, name: str) -> Recording:
        loaded: Recording = load(cls, json.loads((FOLDER / f"{name}.json").read_text()))
        return loaded

    def plan(self) -> Plan:
        stack_change = StackChange.of(preview.read(self.preview))
        return plan_of(stack_change, self.targets, self.account_facts)

    def page(self) -> str:
        return page.render(self.plan(), list(FailOn))

    def write(self, name: str) -> None:
        (FOLDER / f"{name}.json").write_text(json.dumps(dump(self), indent=1) + "\n")
        (FOLDER / f"{name}.md").write_text(self.page())


def dump(value: Any) -> Any:
    """Plain JSON values. A mapping whose keys aren't texts becomes a list of pairs."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: dump(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {key: dump(one) for key, one in sorted(value.items())}
        return [[dump(key), dump(one)] for key, one in sorted(value.items())]
    if isinstance(value, tuple | list):
        return [dump(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value


def load(kind: Any, value: Any) -> Any:
    """The value of that type from what `dump` wrote."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return kind(**{name: load(hints[name], one) for name, one in value.items()})
    if origin in (typing.Union, types.UnionType):
        return None if value is None else load(arguments[0], value)
    if origin is tuple:
        kinds = [arguments[0]] * len(value) if arguments[-1] is ... else arguments
        return tuple(load(of, one) for of, one in zip(kinds, value, strict=True))
    if origin is not None and issubclass(origin, Mapping):
        pairs = value.items() if isinstance(value, dict) else value
        return {load(arguments[0], key): load(arguments[1], one) for key, one in pairs}
    return datetime.fromisoformat(value) if kind is datetime else value


def record(place: Any, name: str, stack: str, *command: str) -> None:
    """Preview on a greenhouse, look, and write both with their page."""
    done = subprocess.run(
        ["pulumi", *command, "--json", "--non-interactive", "--stack", stack],
        env=place.env,
        cwd=place.tree,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    text = json.dumps(_quiet(json.loads(done.stdout)))
    clients = Stack.read(stack, place.tree).clients()
    targets, facts = account_facts.read_facts(
        clients, StackChange.of(preview.read(text)), place.tree
    )
    Recording(preview=text, targets=targets, account_facts=facts).write(name)


def _quiet(value: Any) -> Any:
    """The record without what depends on the machine."""
    if isinstance(value, dict):
        return {key: _quiet(one) for key, one in value.items() if key not in _NOISE}
    return [_quiet(one) for one in value] if isinstance(value, list) else value


def main() -> None:
    """The scenarios, each on top of the one before."""
    import os  # noqa: PLC0415  # greenhouse and its tools are needed for recording only
    import tempfile  # noqa: PLC0415

    import xgboost  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    from greenhouse import account, toolchain  # noqa: PLC0415
    from greenhouse.home import Home  # noqa: PLC0415
    from tests.whole.place import STACK, Place, copy_tree, wait_until  # noqa: PLC0415

    up = ("preview", "--show-sames")
    tools = toolchain.prepare(Console(stderr=True))
    os.environ["PATH"] = os.pathsep.join([*map(str, tools.path), os.environ["PATH"]])
    with tempfile.TemporaryDirectory() as folder:
        place = Place(
            tree=copy_tree(Path(folder) / "tree"),
            home=Home(Path(folder) / "greenhouse"),
            thing="press-1",
            tools=tools,
        )
        os.environ.update(place.env)
        steps: list[Callable[[], object]] = [
            place.start,
            lambda: wait_until(
                lambda: account.TENANT in place.states(), seconds=60, why="the tenant isn't there"
            ),
            lambda: record(place, "first", STACK, *up),
            place.up,
            lambda: record(place, "nothing", STACK, *up),
            lambda: xgboost.Booster(model_file=place.tree / "edge/models/wine-quality.json")[
                :40
            ].save_model(place.tree / "edge/models/wine-quality.json"),
            lambda: place.configure(memory=80),
            lambda: record(place, "model-and-memory", STACK, *up),
            lambda: place.configure(runtime_image="greenhouse/build:bookworm"),
            lambda: record(place, "image", STACK, *up),
            lambda: place.configure(
                override=account.greengrass(place.ports).create_deployment(
                    targetArn=account.thing_arn(place.ports, "press-1"),
                    deploymentName="by hand",
                    components={account.TENANT: {"componentVersion": "1.0.0"}},
                )["deploymentId"]
            ),
            lambda: wait_until(
                lambda: "com.ml.xgboost" not in place.states(), seconds=60, why="it still runs"
            ),
            lambda: place.configure(keep_components=False),
            lambda: record(place, "drift", STACK, *up),
            lambda: record(place, "destroy", STACK, "destroy", "--preview-only"),
        ]
        try:
            for step in steps:
                step()
        finally:
            place.stop()


if __name__ == "__main__":
    main()
