"""The device's pure parts: configuration, variables, versions, roles, image names, platforms."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from greenhouse.device.downloads.docker import Image
from greenhouse.device.downloads.role import evaluate
from greenhouse.device.errors import DeploymentFailed, ErrorCode
from greenhouse.device.flavours.java import Java
from greenhouse.device.lifecycle import scripts
from greenhouse.device.recipe.configuration import BadPointer, find, merged, pointer, resolve
from greenhouse.device.recipe.interpolation import Names, interpolate
from greenhouse.device.recipe.recipes import Recipe, Step, read
from greenhouse.device.recipe.resolve import Sources
from greenhouse.device.recipe.resolve import resolve as resolve_versions
from tests.greenhouse.device.workbench import FakeCloud, recipe

LINUX = {"os": "linux", "architecture": "amd64"}


class TestConfiguration:
    """KernelConfigResolver.resolveConfigurationToApply."""

    def test_new_defaults_do_not_reach_what_is_there_already(self) -> None:
        running = {"a": 1, "o": {"k": "k1"}, "list": [1, 2]}
        defaults = {"a": 2, "o": {"k": "k2", "new": "n"}, "list": [3], "added": "x"}
        assert resolve(running, defaults) == {
            "a": 1,
            "o": {"k": "k1", "new": "n"},
            "list": [1, 2],
            "added": "x",
        }

    def test_a_reset_brings_the_new_default_and_drops_what_has_none(self) -> None:
        running = {"a": 5, "free": {"x": 1}, "accessControl": {"old": 1}}
        defaults = {"a": 2, "accessControl": {"new": 1}}
        assert resolve(running, defaults, reset=["/a", "/free", "/accessControl"]) == defaults
        assert resolve(running, defaults, reset=[""]) == defaults

    def test_a_merge_comes_last_and_replaces_lists_whole(self) -> None:
        running = {"s": "one", "o": {"k": 1, "l": 2}, "list": [1, 2]}
        merge = {"s": "both", "o": {"k": 9}, "list": [7]}
        assert resolve(running, {"s": "two"}, reset=["/s"], merge=merge) == {
            "s": "both",
            "o": {"k": 9, "l": 2},
            "list": [7],
        }

    def test_keys_are_the_same_in_any_case(self) -> None:
        assert resolve({"AccessControl": 1}, {"accesscontrol": 2}) == {"AccessControl": 1}
        assert merged({"Key": 1}, {"kEY": 2}) == {"Key": 2}
        assert find({"Outer": {"Inner": 1}}, ["outer", "INNER"]) == 1
        assert resolve({"Key": 1}, {}, reset=["/key"]) == {}

    def test_nothing_given_is_changed(self) -> None:
        running: dict[str, Any] = {"o": {"k": 1}}
        resolve(running, {"o": {"new": 1}}, reset=["/o/k"], merge={"o": {"z": 1}})
        assert running == {"o": {"k": 1}}

    def test_a_pointer_is_rfc_6901(self) -> None:
        assert pointer("") == []
        assert pointer("/a~1b/~0c") == ["a/b", "~c"]
        with pytest.raises(BadPointer, match="must start with '/'"):
            pointer("deep")


def names(configuration: dict[str, Any]) -> Names:
    return Names(
        configuration=configuration,
        artifacts=Path("/gg/packages/artifacts/a/1.0.0"),
        unarchived=Path("/gg/packages/artifacts-unarchived/a/1.0.0"),
        work=Path("/gg/work/a"),
        root=Path("/gg"),
        thing="thing",
    )


class TestVariables:
    """Cases beyond the conformance records."""

    def test_a_direct_dependency_lends_its_configuration_and_artifacts(self) -> None:
        own, other = names({}), names({"port": 8080})
        text = "{dep.x:configuration:/port} {dep.x:artifacts:path} {dep.x:work:path}"
        assert interpolate(text, own, {"dep.x": other}) == (
            "8080 /gg/packages/artifacts/a/1.0.0 {dep.x:work:path}"
        )

    def test_a_components_own_variables_are_replaced_first(self) -> None:
        """KernelConfigResolver.replace: what a value brings along counts in the second pass."""
        own = names({"theirs": "{dep.x:configuration:/port}", "mine": "1"})
        other = names({"port": 8080, "odd": "{configuration:/mine}"})
        text = "{configuration:/theirs} {dep.x:configuration:/odd}"
        assert interpolate(text, own, {"dep.x": other}) == "8080 {configuration:/mine}"

    def test_a_pointer_leads_into_lists_and_knows_one_spelling(self) -> None:
        """KernelConfigResolver.lookupConfigurationValueForComponent: JsonNode.at."""
        own = names({"list": [1, {"b": 2, "a": None}], "Key": 3})
        assert interpolate("{configuration:/list/0}", own, {}) == "1"
        assert interpolate("{configuration:/list/1}", own, {}) == '{"a":null,"b":2}'
        for nothing in ("{configuration:/list/2}", "{configuration:/key}"):
            assert interpolate(nothing, own, {}) == nothing

    def test_a_stranger_lends_nothing(self) -> None:
        text = "{stranger:configuration:/port}"
        assert interpolate(text, names({}), {}) == text


def versions(cloud: FakeCloud, *roots: dict[str, str], on_device: tuple[str, ...] = ()) -> Any:
    """What resolution chooses. `on_device` has names whose version is on the device already."""

    def from_cloud(name: str, requirements: Any) -> Recipe | None:
        found = None if name in on_device else cloud.choose(name, requirements, LINUX)
        return read(found, LINUX, Java.dialect) if found else None

    def local(name: str) -> Recipe | None:
        known = [document for (other, _), document in cloud.recipes.items() if other == name]
        return read(known[0], LINUX, Java.dialect) if name in on_device else None

    targets = {f"thinggroup/{number}": one for number, one in enumerate(roots)}
    chosen = resolve_versions(targets, Sources(cloud=from_cloud, local=local))
    return {name: one.version for name, one in chosen.items()}


def depends(**ranges: str) -> dict[str, Any]:
    return {name: {"VersionRequirement": text} for name, text in ranges.items()}


class TestResolution:
    """Which versions a device takes."""

    def test_the_greatest_version_that_suits_everyone(self) -> None:
        cloud = FakeCloud()
        for version in ("1.0.0", "1.4.0", "2.0.0"):
            cloud.publish(recipe("lib", version))
        cloud.publish(recipe("a", ComponentDependencies=depends(lib=">=1.0.0")))
        cloud.publish(recipe("b", ComponentDependencies=depends(lib="^1.0.0")))
        assert versions(cloud, {"a": "1.0.0"})["lib"] == "2.0.0"
        assert versions(cloud, {"a": "1.0.0"}, {"b": "1.0.0"})["lib"] == "1.4.0"

    def test_a_version_that_was_passed_over_asks_for_nothing(self) -> None:
        cloud = FakeCloud()
        cloud.publish(recipe("old"), recipe("lib", "1.0.0"))
        cloud.publish(recipe("lib", "2.0.0", ComponentDependencies=depends(old=">=1.0.0")))
        cloud.publish(recipe("a", ComponentDependencies=depends(lib=">=1.0.0", b=">=1.0.0")))
        cloud.publish(recipe("b", ComponentDependencies=depends(lib="<2.0.0")))
        assert versions(cloud, {"a": "1.0.0"}) == {"a": "1.0.0", "b": "1.0.0", "lib": "1.0.0"}

    def test_two_targets_that_want_different_versions_of_one_component_conflict(self) -> None:
        cloud = FakeCloud()
        cloud.publish(recipe("a", "1.0.0"), recipe("a", "2.0.0"))
        with pytest.raises(DeploymentFailed, match=r"thinggroup/1 requires =2\.0\.0") as failure:
            versions(cloud, {"a": "1.0.0"}, {"a": "2.0.0"})
        assert failure.value.stack[-1] == "COMPONENT_VERSION_REQUIREMENTS_NOT_MET"

    def test_the_device_still_has_a_version_that_the_account_has_deleted(self) -> None:
        cloud = FakeCloud()
        cloud.publish(recipe("kept"))
        assert versions(cloud, {"kept": "1.0.0"}, on_device=("kept",)) == {"kept": "1.0.0"}

    def test_a_cycle_is_named(self) -> None:
        documents = (
            recipe("a", ComponentDependencies=depends(b=">=1.0.0")),
            recipe("b", ComponentDependencies=depends(a=">=1.0.0")),
        )
        recipes = {one["ComponentName"]: read(one, LINUX, Java.dialect) for one in documents}
        with pytest.raises(DeploymentFailed, match=r"(a -> b -> a|b -> a -> b)"):
            Java().check(recipes, {})


class TestRecipes:
    """Platforms and scripts."""

    def test_the_first_manifest_that_fits_is_taken(self) -> None:
        document = recipe("a")
        document["Manifests"] = [
            {"Platform": {"os": "linux", "architecture": "aarch64"}, "Lifecycle": {"run": "arm"}},
            {"Platform": {"os": "linux", "runtime": "aws_nucleus_lite"}, "Lifecycle": {"run": "l"}},
            {"Platform": {"os": "linux", "runtime": "*"}, "Lifecycle": {"Run": "this one"}},
            {"Platform": {"os": "*"}, "Lifecycle": {"run": "too late"}},
        ]
        assert read(document, LINUX, Java.dialect).scripts[Step.RUN].text == "this one"

    def test_no_manifest_for_this_machine_is_said_so(self) -> None:
        document = recipe("a")
        document["Manifests"][0]["Platform"] = {"os": "windows"}
        with pytest.raises(DeploymentFailed, match=r"No manifest of a 1\.0\.0 fits this device"):
            read(document, LINUX, Java.dialect)

    def test_time_outs_are_the_nucleus_own_unless_the_recipe_says(self) -> None:
        steps = ("install", "run", "shutdown", "recover", "uninstall")
        scripts = read(
            recipe("a", lifecycle=dict.fromkeys(steps, "true")), LINUX, Java.dialect
        ).scripts
        assert [scripts[Step(step)].timeout for step in steps] == [120, None, 15, 60, 120]
        own = read(
            recipe("a", lifecycle={"startup": {"Script": "true", "Timeout": 3}}),
            LINUX,
            Java.dialect,
        )
        assert own.scripts[Step.STARTUP].timeout == 3

    @pytest.mark.parametrize(
        ("lifecycle", "why"),
        [
            ({"bootstrap": "true"}, "does not model the step 'bootstrap'"),
            ({"startup": "a", "run": "b"}, "both startup and run"),
            ({"strat": "a"}, "lifecycle steps"),
            ({"run": {"Script": "a", "Skipif": "sometimes"}}, "Skipif"),
            ({"run": {"Script": "a", "Skipif": ["onpath x"]}}, "Skipif"),
            ({"run": ["a"]}, "run is neither a script nor an object"),
            ({"run": {"Script": "a", "Timeout": "long"}}, "Timeout 'long' of run"),
            ({"run": {"Script": "a", "Setenv": ["A=b"]}}, "Setenv is no object"),
            ({"run": "a", "Setenv": "A=b"}, "Setenv is no object"),
        ],
    )
    def test_what_is_not_known_is_refused(self, lifecycle: dict[str, Any], why: str) -> None:
        with pytest.raises(DeploymentFailed, match=why):
            read(recipe("a", lifecycle=lifecycle), LINUX, Java.dialect)

    def test_defaults_that_are_no_object_are_refused(self) -> None:
        document = recipe("a", ComponentConfiguration={"DefaultConfiguration": ["x"]})
        with pytest.raises(DeploymentFailed, match=r"a 1\.0\.0: DefaultConfiguration is no object"):
            read(document, LINUX, Java.dialect)


OBJECT = "arn:aws:s3:::bucket/models/abc.json"


class TestRole:
    """IAM's decision, as far as a device needs it."""

    def test_an_allow_that_covers_action_and_resource(self) -> None:
        allow = {"Effect": "Allow", "Action": "s3:Get*", "Resource": "arn:aws:s3:::bucket/*"}
        assert evaluate([allow], "s3:GetObject", OBJECT)
        assert not evaluate([allow], "s3:PutObject", OBJECT)
        assert not evaluate([allow], "s3:GetObject", "arn:aws:s3:::other/abc")
        assert not evaluate([], "s3:GetObject", OBJECT), "an action without an Allow is denied"

    def test_a_deny_wins(self) -> None:
        allow = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}
        deny = {"Effect": "Deny", "Action": "S3:GETOBJECT", "Resource": "arn:aws:s3:::bucket/*"}
        assert not evaluate([allow, deny], "s3:GetObject", OBJECT)
        assert evaluate([allow, deny], "s3:GetObject", "arn:aws:s3:::other/abc")

    def test_the_opposite_forms(self) -> None:
        other = {"Effect": "Allow", "NotAction": "iam:*", "NotResource": "arn:aws:s3:::secret/*"}
        assert evaluate([other], "s3:GetObject", OBJECT)
        assert not evaluate([other], "iam:GetRole", OBJECT)
        assert not evaluate([other], "s3:GetObject", "arn:aws:s3:::secret/a")

    def test_a_condition_is_not_evaluated_and_said_so(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        condition = {"Bool": {"aws:SecureTransport": "true"}}
        allow = {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition}
        assert not evaluate([allow], "s3:GetObject", OBJECT)
        assert "has a Condition" in caplog.text
        always = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        deny = {**always, "Effect": "Deny", "Condition": condition}
        assert not evaluate([always, deny], "s3:GetObject", OBJECT), "it may deny on AWS"


SHA = "sha256:" + "0" * 64


class TestImages:
    """DockerImageArtifactParser."""

    @pytest.mark.parametrize(
        ("uri", "repository", "private", "floating"),
        [
            (f"docker:127.0.0.1:5000/app/local@{SHA}", "app/local", True, False),
            (
                f"docker:123456789012.dkr.ecr.eu-west-1.amazonaws.com/app@{SHA}",
                "app",
                True,
                False,
            ),
            ("docker:public.ecr.aws/repository/image:1.0", "repository/image", False, False),
            ("docker:busybox", "busybox", False, True),
            ("docker:library/busybox:latest", "library/busybox", False, True),
        ],
    )
    def test_names(self, uri: str, repository: str, private: bool, floating: bool) -> None:
        image = Image.parse(uri)
        assert (image.repository, image.private, image.floating) == (repository, private, floating)

    @pytest.mark.parametrize("uri", [f"docker:app:1.0@{SHA}", "docker:App", "docker:app@sha256:12"])
    def test_tag_and_digest_together_or_an_invalid_name_are_refused(self, uri: str) -> None:
        with pytest.raises(DeploymentFailed) as failure:
            Image.parse(uri)
        assert failure.value.codes[-1] is ErrorCode.DOCKER_ARTIFACT_URI_NOT_VALID


def test_a_component_s_log_goes_on_in_a_new_file_and_loses_its_oldest_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "LOG_BYTES", 1000)
    monkeypatch.setattr(scripts, "OLD_LOGS_BYTES", 10_000)
    other = tmp_path / "app.more_2020_01_01_00_0.log"
    other.write_text("another component's")
    log, path = scripts.ComponentLog(tmp_path / "app.log", "app"), tmp_path / "app.log"
    for number in range(1000):
        log.stdout(f"line {number}", "")
        assert path.stat().st_size < 1000, "it was rotated"
        if number == 500:
            path.unlink()  # As somebody may do who needs the space.
    log.stdout("the last one", "")
    log.close()
    rotated = [one for one in tmp_path.iterdir() if re.fullmatch(r"app_[\d_]+\.log", one.name)]
    assert 9_000 < sum(one.stat().st_size for one in rotated) <= 10_000
    order = sorted(rotated, key=lambda one: [int(part) for part in one.stem.split("_")[1:]])
    lines = "".join(one.read_text() for one in [*order, path]).splitlines()
    told = [int(line.rpartition(" ")[2]) for line in lines[:-1]]
    assert told == [*range(told[0], 1000)], "the newest lines, without a gap"
    assert lines[-1].endswith("the last one")
    assert other.exists()
