"""Stack files: the program takes what is written, and editors check it by a schema."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from rich.console import Console

from fleet import stackfile
from fleet.stacks import ROOT, NoStack, Stack, project
from greenhouse import toolchain
from infra.settings import Misconfigured

STACKS = sorted([*ROOT.glob("Pulumi.*.yaml"), *ROOT.glob("examples/Pulumi.*.yaml")])


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one stack, dev. Paths in its config begin in the real project."""
    monkeypatch.chdir(ROOT)
    for name in ("Pulumi.yaml", "Pulumi.dev.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def write(root: Path, name: str, **values: str) -> Path:
    empty = {"group": "", "follows": "", "architecture": "", "region": ""}
    return stackfile.write(name, **{**empty, **values}, root=root)


def test_a_follower_takes_the_region_of_the_stack_it_follows(root: Path) -> None:
    config = yaml.safe_load(write(root, "press-3", follows="dev").read_text())["config"]
    assert config == {
        "aws:region": "eu-west-1",
        f"{project()}:thing": "press-3",
        f"{project()}:release-from": "dev",
    }


def test_a_follower_works_as_the_one_that_it_follows(root: Path) -> None:
    role = [{"roleArn": "arn:aws:iam::123456789012:role/deployer", "externalId": "00089"}]
    publisher = root / "Pulumi.dev.yaml"
    config = yaml.safe_load(publisher.read_text())["config"]
    config |= {"aws:profile": "plant", "aws:assumeRoles": role}
    publisher.write_text(yaml.safe_dump({"config": config}, default_style='"'))
    written = write(root, "press-3", follows="dev").read_text()
    found = yaml.safe_load(written)["config"]
    assert found["aws:profile"] == "plant"
    assert found["aws:assumeRoles"] == role
    assert '"00089"' in written, "bare, Pulumi would read a number"


def test_nothing_is_overwritten(root: Path) -> None:
    before = (root / "Pulumi.dev.yaml").read_text()
    with pytest.raises(NoStack, match="there already"):
        write(root, "dev", region="eu-west-1")
    assert (root / "Pulumi.dev.yaml").read_text() == before


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("Press_3", {"region": "eu-west-1"}, "lower-case"),
        ("../press-3", {"region": "eu-west-1"}, "can't name a stack"),
        ("press-3", {"region": "eu-west-1", "group": "plant:line-1"}, "'plant:line-1' is no name"),
        ("press-3", {"region": "eu-west-1", "architecture": "arm64"}, "amd64 and aarch64"),
        ("press-3", {}, "has no region"),
        ("press-3", {"follows": "nobody"}, r"no stack file Pulumi.nobody.yaml\.\nStacks here: dev"),
        ("press-3", {"follows": "dev", "architecture": "amd64"}, "Add the architecture there"),
    ],
)
def test_a_value_that_the_program_would_refuse_is_not_written(
    root: Path, name: str, values: dict[str, str], said: str
) -> None:
    with pytest.raises((NoStack, Misconfigured), match=said):
        write(root, name, **values)
    assert not (root / f"Pulumi.{name}.yaml").exists()


# Without quotes, Pulumi's reader takes each of these for something else than text.
TURNED = ["00089", "08", "5e10", "0o17", "00123", "null", "true", "on", "1_0", "0x1f", "89", "e"]


@pytest.mark.parametrize("name", TURNED)
def test_a_text_that_looks_like_a_number_is_written_as_text(root: Path, name: str) -> None:
    stack = name.replace("_", "-")
    written = write(root, stack, region="eu-west-1", group=name).read_text()
    assert f'{project()}:thing-group: "{name}"' in written
    config = stackfile.read_back(written)
    assert config[f"{project()}:thing-group"] == name


def test_a_bare_word_is_not_taken_for_what_pulumi_reads() -> None:
    with pytest.raises(NoStack, match="may read these as numbers: 00089"):
        stackfile.read_back(f"config:\n  aws:region: 'eu-west-1'\n  {project()}:thing: 00089\n")


Pulumi = Callable[..., str]


@pytest.fixture
def pulumi(root: Path, tmp_path: Path) -> Pulumi:
    """The real CLI's output."""
    tools = toolchain.prepare(Console(stderr=True))
    env = {
        "PATH": os.pathsep.join([*map(str, tools.path), os.environ["PATH"]]),
        "HOME": str(tmp_path),
        "PULUMI_BACKEND_URL": f"file://{tmp_path}",
        "PULUMI_CONFIG_PASSPHRASE": "x",
    }

    def run(*words: str) -> str:
        return subprocess.run(
            ["pulumi", *words, "--non-interactive"],
            cwd=root,
            env=env,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.strip()

    return run


@pytest.mark.docker
def test_pulumi_reads_a_name_of_digits_as_the_text_that_was_written(
    root: Path, pulumi: Pulumi
) -> None:
    write(root, "00089", region="eu-west-1")
    pulumi("stack", "init", "00089")
    assert pulumi("config", "get", "thing", "--stack", "00089") == "00089"


# Values without quotes, as people write them into a stack file.
SURE = ["7", "0", "-5", "123456789012", "true", "False", "press-1", "3d-printer", "y", "1.2.3", "~"]
QUOTED = ["'010'", '"1e3"', '"yes"', "'1_000'", "'1:30'"]
UNSURE = [
    *("010", "08", "00089", "0x10", "0X10", "0o17", "0b11", "1_000", "+5", "12345678901234567890"),
    *("1e3", "5e10", "1.0", ".5", "1.", "1:30", "2026-11-30", "2026-1-2", "yes", "on", "No", "off"),
]


@pytest.mark.docker
def test_a_value_that_is_not_refused_is_read_as_pulumi_reads_it(root: Path, pulumi: Pulumi) -> None:
    keys = {f"{project()}:k{number}": value for number, value in enumerate([*SURE, *QUOTED])}
    lines = "".join(f"  {key}: {value}\n" for key, value in keys.items())
    pulumi("stack", "init", "hand")  # It would write the file again, in Pulumi's own words.
    (root / "Pulumi.hand.yaml").write_text(f"config:\n{lines}")
    known = json.loads(pulumi("config", "--json", "--stack", "hand"))
    shown = {key: known[key].get("value", "") for key in keys}
    ours = Stack.read("hand", root).config
    assert {key: ours[key] or "" for key in keys} == shown


@pytest.mark.parametrize("value", UNSURE)
def test_a_value_that_readers_of_yaml_differ_about_has_to_be_quoted(root: Path, value: str) -> None:
    key, file = f"{project()}:devices-per-minute", root / "Pulumi.hand.yaml"
    for said, typed in ((value, f'{key}: "{value}"'), (f"[{value}]", f'"{value}"')):
        file.write_text(f"config:\n  {key}: {said}\n")
        with pytest.raises(NoStack) as refused:
            Stack.read("hand", root)
        what, _why, command = str(refused.value).splitlines()
        assert what == f"Pulumi.hand.yaml: {key} has {value} without quotes."
        assert command.strip() == typed
    file.write_text(f'config:\n  {key}: "{value}"\n')
    assert Stack.read("hand", root).config[key] == value


def test_aliases_in_a_stack_file_are_followed_once(root: Path) -> None:
    levels = "".join(f"  a:k{n + 1}: &k{n + 1} [{', '.join([f'*k{n}'] * 9)}]\n" for n in range(30))
    file = root / "Pulumi.hand.yaml"
    file.write_text(f"config:\n  a:k0: &k0 [word]\n{levels}  a:own: &own [*own, 7]\n")
    assert Stack.read("hand", root).config["a:k0"] == ["word"]


def test_a_misspelt_key_is_refused_with_the_nearest_name(root: Path) -> None:
    with pytest.raises(Misconfigured, match="The nearest is 'memory'"):
        stackfile.check("dev", {f"{project()}:memroy": "64"}, root)


def test_the_kept_schema_is_the_one_that_pulumi_yaml_gives() -> None:
    assert json.loads((ROOT / stackfile.SCHEMA).read_text()) == stackfile.schema(), (
        f"python -m fleet schema > {stackfile.SCHEMA}"
    )


@pytest.mark.parametrize("path", STACKS, ids=lambda path: path.name)
def test_every_stack_file_fits_the_schema(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), stackfile.schema())


def test_the_schema_refuses_what_the_program_refuses() -> None:
    for config in ({"memroy": 64}, {"memory": "much"}, {"keep-components": "yes"}):
        named = {f"{project()}:{key}": value for key, value in config.items()}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"config": named}, stackfile.schema())
