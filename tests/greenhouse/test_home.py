"""Where a greenhouse keeps its things, and the variables that point a shell at it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from greenhouse.environment import pulumi_environment, shell_environment
from greenhouse.home import Home, HomeBroken


def test_a_home_keeps_its_ports(tmp_path: Path) -> None:
    ports = Home(tmp_path).ports()
    assert Home(tmp_path).ports() == ports, "an image's address has its port in it"


def test_the_kernel_gives_the_ports_of_a_home_to_no_connection(tmp_path: Path) -> None:
    given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = Home(tmp_path).ports()
    chosen = {ports.ministack, ports.cloud, ports.aws, ports.aws_native, ports.docker}
    assert len(chosen) == 5
    assert max(chosen) < given


@pytest.mark.parametrize("settings", ["", "{", "[]", '{"ministack": 1}'])
def test_settings_that_can_not_be_read_come_with_what_to_type(
    tmp_path: Path, settings: str
) -> None:
    (tmp_path / "settings.json").write_text(settings)
    with pytest.raises(HomeBroken, match=r"(?s)settings\.json.*make clean && make up"):
        Home(tmp_path).ports()


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({}, "127.0.0.1,localhost"),
        ({"no_proxy": "intra"}, "intra,127.0.0.1,localhost"),
        ({"NO_PROXY": "intra"}, "intra,127.0.0.1,localhost"),
        ({"no_proxy": "a", "NO_PROXY": "b"}, "a,127.0.0.1,localhost"),
        ({"no_proxy": "127.0.0.1,a,localhost"}, "127.0.0.1,a,localhost"),
    ],
)
def test_no_proxy_stands_between_a_shell_and_greenhouse(
    tmp_path: Path, said: dict[str, str], meant: str
) -> None:
    env = shell_environment(Home(tmp_path), path=[], docker_host=None, base=said)
    assert (env["no_proxy"], env["NO_PROXY"]) == (meant, meant)


@pytest.mark.parametrize("name", ["my project", "my projects (edge)", "project #1", "100%20?"])
def test_pulumi_finds_its_state_below_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path / name / ".greenhouse")
    url = pulumi_environment(home, home.ports())["PULUMI_BACKEND_URL"]
    found = urlsplit(url)
    assert (found.scheme, unquote(found.path)) == ("file", str(home.stacks))
    assert (found.query, found.fragment) == ("metadata=skip", "")
