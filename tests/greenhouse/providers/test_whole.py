"""The real CLI over our providers: what a person sees."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from greenhouse import toolchain

pytestmark = pytest.mark.whole
PROGRAM = Path(__file__).with_name("program")
STACK = "test"


@dataclass
class Cli:
    """`pulumi` in a program's folder."""

    folder: Path
    env: dict[str, str]

    def __call__(self, *arguments: str, ok: bool = True) -> str:
        done = subprocess.run(
            ["pulumi", *arguments, "--non-interactive", "--stack", STACK],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) is ok, done.stdout
        return done.stdout

    def in_another_folder(self, folder: Path) -> Cli:
        shutil.copytree(self.folder, folder)
        return Cli(folder, self.env)


@pytest.fixture
def suffix(aws: dict[str, str]) -> Iterator[str]:
    """A suffix for this test's names. The role and the thing belong to somebody else and exist."""
    del aws
    suffix, trust = secrets.token_hex(4), '{"Version": "2012-10-17", "Statement": []}'
    iam, iot = boto3.client("iam"), boto3.client("iot")
    iam.create_role(RoleName=f"role-{suffix}", AssumeRolePolicyDocument=trust)
    iot.create_thing(thingName=f"thing-{suffix}")
    yield suffix
    iot.delete_thing(thingName=f"thing-{suffix}")
    iam.delete_role(RoleName=f"role-{suffix}")


@pytest.fixture
def pulumi(
    tools: toolchain.Toolchain,
    aws: dict[str, str],
    ports: dict[str, int],
    suffix: str,
    tmp_path: Path,
) -> Cli:
    del tools  # They are first on PATH by now.
    folder = Path(shutil.copytree(PROGRAM, tmp_path / "program"))
    backend = tmp_path / "backend"
    backend.mkdir()
    cli = Cli(
        folder,
        {
            **os.environ,
            **aws,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PULUMI_HOME": str(tmp_path / "home"),
            "PULUMI_BACKEND_URL": f"file://{backend}",
            "PULUMI_CONFIG_PASSPHRASE": "",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_OPTION_SKIP_PLUGIN_PRE_INSTALL": "true",
            "PULUMI_DEBUG_PROVIDERS": ",".join(f"{name}:{port}" for name, port in ports.items()),
        },
    )
    cli("stack", "init")
    cli("config", "set", "suffix", suffix)
    return cli


def outputs(pulumi: Cli) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(pulumi("stack", "output", "--json"))
    return found


def test_a_program_comes_up_stays_and_goes(pulumi: Cli, suffix: str, tmp_path: Path) -> None:
    s3, ecr, greengrass = boto3.client("s3"), boto3.client("ecr"), boto3.client("greengrassv2")
    assert "14 to create" in re.sub(r" +", " ", pulumi("preview"))
    up = pulumi("up", "--yes", "--skip-preview")
    assert "warning:" not in up, "nothing to get used to"
    first = outputs(pulumi)
    assert re.fullmatch(rf"127\.0\.0\.1:\d+/small/{suffix}@sha256:[0-9a-f]{{64}}", first["image"])
    assert s3.get_object(Bucket=f"small-{suffix}", Key="model.json")["Body"].read() == b"{}\n"

    token = boto3.client("ecr").get_authorization_token()["authorizationData"][0]
    password = base64.b64decode(token["authorizationToken"]).decode().partition(":")[2]
    for shown in (
        pulumi("stack", "export"),
        pulumi("preview", "--diff"),
        pulumi("preview", "--diff", "--config", "program:tag=v2"),
    ):
        assert password not in shown, "the registry's password must not be on a disk"

    pulumi("preview", "--expect-no-changes")
    elsewhere = pulumi.in_another_folder(tmp_path / "elsewhere")
    elsewhere("preview", "--expect-no-changes")
    pulumi("refresh", "--yes", "--skip-preview", "--expect-no-changes")

    (elsewhere.folder / "model.json").write_text('{"trees": 1}')
    preview = elsewhere("preview", "--diff")
    assert "model.json" in preview
    pulumi("preview", "--expect-no-changes")  # Each folder has its own files.
    elsewhere("up", "--yes", "--skip-preview")
    assert s3.get_object(Bucket=f"small-{suffix}", Key="model.json")["Body"].read() == (
        b'{"trees": 1}'
    )
    assert outputs(elsewhere)["image"] == first["image"], "a new model is no new image"

    elsewhere("config", "set", "version", "2.0.0")
    told = elsewhere("up", "--yes", "--skip-preview")
    assert "++ aws-native:greengrassv2:ComponentVersion" in re.sub(r" +", " ", told)
    versions = greengrass.list_components()["components"]
    ours = [c for c in versions if c["componentName"] == f"com.example.{suffix}"]
    assert [c["latestVersion"]["componentVersion"] for c in ours] == ["2.0.0"]

    elsewhere("destroy", "--yes", "--skip-preview")
    assert f"small-{suffix}" not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    names = {found["repositoryName"] for found in ecr.describe_repositories()["repositories"]}
    assert f"small/{suffix}" not in names
    left = [component["componentName"] for component in greengrass.list_components()["components"]]
    assert f"com.example.{suffix}" not in left
    target = f"arn:aws:iot:eu-west-1:123456789012:thing/thing-{suffix}"
    assert not greengrass.list_deployments(targetArn=target, historyFilter="ALL")["deployments"]
    tagged = first["image"].partition("@")[0] + ":v1"
    subprocess.run(["docker", "image", "rm", "--force", tagged, first["image"]], check=True)


def test_a_wrong_program_ends_in_a_sentence(pulumi: Cli) -> None:
    main = pulumi.folder / "__main__.py"
    main.write_text(main.read_text().replace("build=docker.", "skip_push=True, build=docker.", 1))
    main.write_text(main.read_text().replace('context="context"', 'context="nowhere"'))
    told = pulumi("preview", ok=False)
    assert 'could not open dockerfile at relative path "nowhere/Dockerfile"' in told
