"""Every rule of the linter is broken once here. Our own recipes break no rule that matters.

The file is long because one table has a broken recipe for each rule.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.names import COMPONENTS
from recipes import rules
from recipes import shell as scripts
from recipes.findings import Finding, Severity
from recipes.rules.rights import bytes_on_lite
from tests.infra.publish.test_recipe import recipe_of

SOCKET = "$AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"
IMAGE = f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/wine@sha256:{'a' * 64}"
DOCKER_RUN = "exec docker run --rm --init --log-driver none --name wine"
RUN = f"{DOCKER_RUN} {IMAGE} serve"


def recipe(**changes: Any) -> dict[str, Any]:
    """A recipe without a finding, with other top-level keys."""
    return {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": "com.example.wine",
        "ComponentVersion": "1.0.0",
        "Manifests": [manifest()],
        **changes,
    }


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "Platform": {"os": "linux", "runtime": "*"},
        "Lifecycle": {"run": 'python3 "{artifacts:path}/main.py"'},
        "Artifacts": [{"Uri": "s3://bucket/main.py"}],
        **changes,
    }


def platform(**attributes: str) -> dict[str, Any]:
    return recipe(Manifests=[manifest(Platform=attributes)])


def lifecycle(**steps: Any) -> dict[str, Any]:
    return recipe(Manifests=[manifest(Lifecycle=steps)])


def with_defaults(
    environment: dict[str, str], run: str = "true", **defaults: Any
) -> dict[str, Any]:
    return lifecycle(run=run, Setenv=environment) | {
        "ComponentConfiguration": {"DefaultConfiguration": defaults}
    }


def docker(script: str, *uris: str, user_files: Any = None) -> dict[str, Any]:
    """A component that runs a container, with all that it needs."""
    images = [{"Uri": f"docker:{uri}"} for uri in uris or [IMAGE]]
    files = [user_files] if user_files else []
    return recipe(
        ComponentDependencies={
            f"aws.greengrass.{name}": {"VersionRequirement": "^2.0.0", "DependencyType": "SOFT"}
            for name in ("DockerApplicationManager", "TokenExchangeService")
        },
        Manifests=[manifest(Lifecycle={"run": script}, Artifacts=[*images, *files])],
    )


def rights(*resources: str, name: str = "com.example.wine:pubsub:1") -> dict[str, Any]:
    policy = {"operations": ["aws.greengrass#PublishToTopic"], "resources": list(resources)}
    access = {"aws.greengrass.ipc.pubsub": {name: policy}}
    return recipe(ComponentConfiguration={"DefaultConfiguration": {"accessControl": access}})


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in recipe().items() if name != key}


# The rule, a recipe that breaks it and no other rule, the place, and a part of the fix
BROKEN: list[tuple[str, dict[str, Any], str, str]] = [
    ("required-keys", without("ComponentVersion"), "ComponentVersion", "add ComponentVersion"),
    ("required-keys", recipe(Manifests=[]), "Manifests", "at least one"),
    ("required-keys", recipe(RecipeFormatVersion="2021-01-25"), "RecipeFormatVersion", "2020"),
    ("component-name", recipe(ComponentName="wine model"), "ComponentName", "'wine model'"),
    ("version-format", recipe(ComponentVersion="1.0"), "ComponentVersion", "1.0.0"),
    ("version-format", recipe(ComponentVersion="1.0.1234567"), "ComponentVersion", "1.0.0"),
    ("version-format", recipe(ComponentVersion="1.02.3"), "ComponentVersion", "1.0.0"),
    ("version-digits", recipe(ComponentVersion="1.0.0-rc.1"), "ComponentVersion", ": 1.0.0"),
    ("recipe-size", recipe(ComponentDescription="x" * 8_000), "recipe", "8000 fit"),
    ("step-case", lifecycle(Run="true"), "Manifests[0].Lifecycle.Run", "write run"),
    ("key-case", lifecycle(run={"script": "true"}), "Manifests[0].Lifecycle.run.script", "Script"),
    (
        "key-case",
        recipe(Manifests=[manifest(Artifacts=[{"URI": "s3://bucket/a"}])]),
        "Manifests[0].Artifacts[0].URI",
        "write Uri",
    ),
    (
        "key-case",
        lifecycle(run="true", setEnv={"A": "b"}),
        "Manifests[0].Lifecycle.setEnv",
        "write Setenv",
    ),
    ("unknown-key", recipe(Manifest=[]), "Manifest", "write Manifests"),
    ("unknown-key", lifecycle(start="true"), "Manifests[0].Lifecycle.start", "startup"),
    ("unknown-key", recipe(Zzz=1), "Zzz", "remove it"),
    ("runtime-missing", platform(os="linux"), "Manifests[0].Platform", 'runtime: "*"'),
    (
        "runtime-lite-only",
        platform(os="linux", runtime="aws_nucleus_lite"),
        "Manifests[0].Platform.runtime",
        '"*"',
    ),
    ("platform-os", platform(runtime="*"), "Manifests[0].Platform", "os: linux"),
    ("platform-legacy", platform(os="all", runtime="*"), "Manifests[0].Platform.os", "linux"),
    (
        "architecture-name",
        platform(os="linux", runtime="*", architecture="arm64"),
        "Manifests[0].Platform.architecture",
        "write aarch64",
    ),
    (
        "platform-regex",
        platform(os="/linux|darwin/", runtime="*"),
        "Manifests[0].Platform.os",
        "each value",
    ),
    (
        "manifest-shadowed",
        recipe(
            Manifests=[
                manifest(),
                manifest(Platform={"os": "linux", "runtime": "*", "architecture": "amd64"}),
            ]
        ),
        "Manifests[1]",
        "before Manifests[0]",
    ),
    (
        "artifacts-key",
        recipe(Manifests=[{k: v for k, v in manifest().items() if k != "Artifacts"}]),
        "Manifests[0]",
        "Artifacts: []",
    ),
    ("global-lifecycle", recipe(Lifecycle={"run": "true"}), "Lifecycle", "manifest's own"),
    (
        "startup-or-run",
        lifecycle(run="true", startup="check || exit 1"),
        "Manifests[0].Lifecycle",
        "keep one",
    ),
    (
        "startup-or-run",
        recipe(Lifecycle={"all": {"run": "true", "startup": "check || exit 1"}}),
        "Lifecycle.all",
        "keep one",
    ),
    ("component-type", recipe(ComponentType="aws.greengrass.lambda"), "ComponentType", "generic"),
    (
        "lite-has-none",
        lifecycle(run="true", shutdown="true"),
        "Manifests[0].Lifecycle.shutdown",
        "SIGTERM",
    ),
    (
        "lite-has-none",
        lifecycle(run={"Script": "true", "Skipif": "onpath git"}),
        "Manifests[0].Lifecycle.run.Skipif",
        "the script itself",
    ),
    (
        "startup-leaves-early",
        lifecycle(startup="check; exit 0"),
        "Manifests[0].Lifecycle.startup",
        "reach the end",
    ),
    (
        "startup-leaves-early",
        lifecycle(startup="check; exit $?"),
        "Manifests[0].Lifecycle.startup",
        "reach the end",
    ),
    (
        "startup-leaves-early",
        lifecycle(startup="exec check || exit 1"),
        "Manifests[0].Lifecycle.startup",
        "reach the end",
    ),
    ("startup-gate", lifecycle(startup="check"), "Manifests[0].Lifecycle.startup", "|| exit 1"),
    (
        "startup-gate",
        lifecycle(startup="check || exit 1\nready"),
        "Manifests[0].Lifecycle.startup",
        "|| exit 1",
    ),
    (
        "install-timeout",
        lifecycle(install="apt-get install -y git", run="true"),
        "Manifests[0].Lifecycle.install",
        "Timeout",
    ),
    (
        "pip-unpinned",
        lifecycle(install={"Script": "pip3 install -q pandas awsiotsdk==1.31.0", "Timeout": 600}),
        "Manifests[0].Lifecycle.install",
        "pandas==VERSION",
    ),
    (
        "pip-unpinned",
        lifecycle(install={"Script": "pip install --target lib numpy~=1.2", "Timeout": 600}),
        "Manifests[0].Lifecycle.install",
        "write numpy==VERSION",
    ),
    ("sudo", lifecycle(run="sudo systemctl start x"), "Manifests[0].Lifecycle.run", "Privilege"),
    ("script-brace", lifecycle(run="echo ${HOME}"), "Manifests[0].Lifecycle.run", "${HOME}"),
    (
        "script-brace",
        lifecycle(run="docker ps --format '{{.ID}}'"),
        "Manifests[0].Lifecycle.run",
        "{",
    ),
    (
        "script-brace",
        lifecycle(run={"Script": "true", "Setenv": {"A": "${HOME}"}}),
        "Manifests[0].Lifecycle.run.Setenv.A",
        "${HOME}",
    ),
    (
        "script-brace",
        lifecycle(run="true", Setenv={"A": "${HOME}"}),
        "Manifests[0].Lifecycle.Setenv.A",
        "${HOME}",
    ),
    (
        "variable-of-another",
        lifecycle(run='"{com.other:artifacts:path}/run.sh"'),
        "Manifests[0].Lifecycle.run",
        "{com.other:artifacts:path}",
    ),
    (
        "variable-pointer",
        lifecycle(run={"Script": "true", "Setenv": {"A": "{configuration:rate}"}}),
        "Manifests[0].Lifecycle.run.Setenv.A",
        "{configuration:/rate}",
    ),
    (
        "variable-missing",
        with_defaults({"A": "{configuration:/camera/1/name}"}, camera=[1, {"name": "right"}]),
        "Manifests[0].Lifecycle.Setenv.A",
        "outside of any list",
    ),
    (
        "variable-missing",
        lifecycle(run={"Script": "true", "Setenv": {"A": "{configuration:/rate}"}}),
        "Manifests[0].Lifecycle.run.Setenv.A",
        "at /rate",
    ),
    (
        "variable-missing",
        with_defaults({"A": "{configuration:/camera/2}"}, camera=["left", "right"]),
        "Manifests[0].Lifecycle.Setenv.A",
        "at /camera/2",
    ),
    (
        "variable-quoting",
        with_defaults({}, rate=1, run="sample --rate {configuration:/rate}"),
        "Manifests[0].Lifecycle.run",
        "Setenv",
    ),
    (
        "variable-in-default",
        recipe(ComponentConfiguration={"DefaultConfiguration": {"topic": "{iot:thingName}/a"}}),
        "DefaultConfiguration.topic",
        "in the script",
    ),
    (
        "artifact-uri",
        recipe(Manifests=[manifest(Artifacts=[{"Uri": "https://example.com/a"}])]),
        "Manifests[0].Artifacts[0]",
        "s3://",
    ),
    (
        "artifact-digest",
        recipe(Manifests=[manifest(Artifacts=[{"Uri": "s3://bucket/a", "Digest": "abc"}])]),
        "Manifests[0].Artifacts[0].Digest",
        "remove",
    ),
    (
        "artifact-owner",
        docker(
            f"{DOCKER_RUN} -u 1000 -v '{{artifacts:path}}:/a' {IMAGE}",
            user_files={"Uri": "s3://bucket/model.json"},
        ),
        "Manifests[0].Artifacts[1]",
        "{Read: ALL}",
    ),
    (
        "image-tag-and-digest",
        docker("true", f"wine:1@sha256:{'a' * 64}"),
        "Manifests[0].Artifacts[0]",
        "docker:wine@sha256",
    ),
    ("image-latest", docker("true", "wine:latest"), "Manifests[0].Artifacts[0]", "docker:wine@sha"),
    ("image-latest", docker("true", "host:5000/wine"), "Manifests[0].Artifacts[0]", "@sha256"),
    ("image-tag", docker("true", "wine:1.2"), "Manifests[0].Artifacts[0]", "digest"),
    (
        "image-not-declared",
        docker("exec docker run --rm --init --log-driver none --name w wine:2"),
        "Manifests[0].Lifecycle.run",
        "docker:wine:2",
    ),
    (
        "docker-dependency",
        recipe(Manifests=[manifest(Artifacts=[{"Uri": f"docker:wine@sha256:{'a' * 64}"}])]),
        "ComponentDependencies",
        "DockerApplicationManager",
    ),
    (
        "ecr-dependency",
        docker(RUN)
        | {
            "ComponentDependencies": {
                "aws.greengrass.DockerApplicationManager": {"DependencyType": "SOFT"}
            }
        },
        "ComponentDependencies",
        "TokenExchangeService",
    ),
    (
        "credentials-dependency",
        lifecycle(run="curl $AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        "ComponentDependencies",
        "TokenExchangeService",
    ),
    (
        "docker-option-late",
        docker(f"{RUN} --network=host"),
        "Manifests[0].Lifecycle.run",
        "move --network=host before",
    ),
    (
        "docker-secret-in-argv",
        docker(f"exec docker run --rm --init --log-driver none --name w -e SVCUID=$SVCUID {IMAGE}"),
        "Manifests[0].Lifecycle.run",
        "-e SVCUID:",
    ),
    (
        "docker-network-host",
        docker(f"exec docker run --rm --init --log-driver none --name w --network host {IMAGE}"),
        "Manifests[0].Lifecycle.run",
        "--network none",
    ),
    (
        "docker-detached",
        docker(f"docker run -d --rm --init --log-driver none --name w {IMAGE}"),
        "Manifests[0].Lifecycle.run",
        "foreground",
    ),
    (
        "docker-rm",
        docker(f"exec docker run --init --log-driver none --name w {IMAGE}"),
        "Manifests[0].Lifecycle.run",
        "--rm",
    ),
    (
        "docker-name",
        docker(f"exec docker run --rm --init --log-driver none {IMAGE}"),
        "Manifests[0].Lifecycle.run",
        "--name",
    ),
    (
        "docker-log",
        docker(f"exec docker run --rm --init --name w {IMAGE}"),
        "Manifests[0].Lifecycle.run",
        "--log-driver none",
    ),
    (
        "docker-log",
        docker(f"exec docker run --rm --init --log-driver=json-file --name w {IMAGE}"),
        "Manifests[0].Lifecycle.run",
        "--log-driver none",
    ),
    ("docker-tty", docker(f"{DOCKER_RUN} -it {IMAGE}"), "Manifests[0].Lifecycle.run", "drop -t"),
    (
        "docker-tty",
        docker(f"{DOCKER_RUN} \\\n  --tty \\\n  {IMAGE}"),
        "Manifests[0].Lifecycle.run",
        "drop -t",
    ),
    (
        "docker-init",
        docker(f"exec docker run --rm --log-driver none --name w {IMAGE}"),
        "Manifests[0].Lifecycle.run",
        "--init",
    ),
    (
        "socket-path",
        lifecycle(run="ls /greengrass/v2/ipc.socket"),
        "Manifests[0].Lifecycle.run",
        SOCKET,
    ),
    (
        "secret-in-recipe",
        lifecycle(run="AWS_ACCESS_KEY_ID=AKIA" + "Q" * 16 + " aws s3 ls"),
        "Manifests[0].Lifecycle.run",
        "revoke",
    ),
    (
        "path-unquoted",
        lifecycle(run='echo "it\'s" # "\ncat {artifacts:path}/a {artifacts:path}/b'),
        "Manifests[0].Lifecycle.run",
        '"{artifacts:path}',
    ),
    (
        "path-unquoted",
        docker(f'{DOCKER_RUN} -v {SOCKET}:"/s" {IMAGE}'),
        "Manifests[0].Lifecycle.run",
        f'"{SOCKET}',
    ),
    (
        "hard-dependency",
        recipe(
            ComponentDependencies={
                "aws.greengrass.TokenExchangeService": {"DependencyType": "HARD"},
            }
        ),
        "ComponentDependencies.aws.greengrass.TokenExchangeService",
        "SOFT",
    ),
    (
        "hard-dependency",
        recipe(ComponentDependencies={"com.example.bus": {"VersionRequirement": ">=1.0.0"}}),
        "ComponentDependencies.com.example.bus",
        "SOFT",
    ),
    (
        "dependency-range",
        recipe(
            ComponentDependencies={
                "com.example.bus": {"VersionRequirement": "~1.0.0", "DependencyType": "SOFT"}
            }
        ),
        "ComponentDependencies.com.example.bus",
        ">=A <B",
    ),
    (
        "rights-mqtt-wildcard",
        rights("local/#"),
        "accessControl.com.example.wine:pubsub:1.resources",
        "local/*",
    ),
    (
        "rights-question-mark",
        rights("local/?"),
        "accessControl.com.example.wine:pubsub:1.resources",
        "${?}",
    ),
    (
        "rights-any-topic",
        rights("*"),
        "accessControl.com.example.wine:pubsub:1.resources",
        "name the topics",
    ),
    (
        "rights-policy-id",
        rights("local/a", name="publisher"),
        "accessControl.publisher",
        "com.example.wine:",
    ),
    (
        "rights-size",
        rights(*(f"local/{number:04}" for number in range(400))),
        "accessControl.aws.greengrass.ipc.pubsub",
        "one *",
    ),
]


def lines(found: list[Finding]) -> list[str]:
    return [finding.line for finding in found]


@pytest.mark.parametrize(
    "fine",
    [
        recipe(),
        docker(RUN),
        rights("local/*", "local/${?}"),
        lifecycle(startup="check >/dev/null 2>&1 || exit 1"),
        lifecycle(startup="set -eu\ncheck"),
        lifecycle(startup="if check; then true; else exit 1; fi || exit 1"),
        lifecycle(startup="exit 1"),
        lifecycle(run={"Script": 'pip install -r "{artifacts:path}/requirements.txt"'}),
        lifecycle(run={"Script": "pip install ./own git+https://example.com/a@v1 b.whl"}),
        recipe(Lifecycle={"all": {"run": "true"}}),
        rights("local/{iot:thingName}"),
        with_defaults({"A": "{configuration:/o/a~1b}"}, o={"a/b": 1}),
        lifecycle(install={"Script": "pip install --target lib .", "Timeout": 600}, run="true"),
        recipe(
            Manifests=[
                manifest(Platform={"os": "linux", "runtime": "*", "architecture": "amd64"}),
                manifest(),
            ]
        ),
        docker(
            f"{DOCKER_RUN} -u 0 -v '{{artifacts:path}}:/a' {IMAGE}",
            user_files={"Uri": "s3://bucket/model.json"},
        ),
        docker(
            "exec docker run --rm --init --log-driver none --name w --network host"
            f" -e AWS_CONTAINER_CREDENTIALS_FULL_URI {IMAGE}"
        ),
        docker(f"exec docker run --rm --init --log-opt max-size=1m --name w {IMAGE}"),
        docker(f"{DOCKER_RUN} {IMAGE} -t"),
        lifecycle(run="# cat {work:path}\ncat \"{work:path}/a\" '{work:path}/b'"),
        lifecycle(run="true", install={"Script": "pip install 'pandas==2.3.3'", "Timeout": 600}),
    ],
)
def test_a_recipe_that_both_runtimes_run_has_no_finding(fine: dict[str, Any]) -> None:
    assert lines(rules.findings(fine)) == []


@pytest.mark.parametrize(("rule", "broken", "where", "fix"), BROKEN)
def test_a_broken_rule_is_named_with_its_place_and_what_to_write(
    rule: str, broken: dict[str, Any], where: str, fix: str
) -> None:
    found = rules.findings(broken)
    assert [one.rule.name for one in found] == [rule], lines(found)
    assert found[0].where == where
    assert fix in found[0].fix


def test_a_manifest_behind_one_that_lite_skips_is_lites() -> None:
    """Java takes the first of these manifests, and Lite the second."""
    java, both = {"os": "linux"}, {"os": "linux", "runtime": "*"}
    for second, shadowed in ((both, False), (java, True)):
        pair = [manifest(Platform=java), manifest(Platform=second)]
        found = {one.rule.name for one in rules.findings(recipe(Manifests=pair))}
        assert ("manifest-shadowed" in found) is shadowed


def test_a_policy_takes_the_memory_that_lite_needs_for_it() -> None:
    """gg/object.h on 64 bits: 21 bytes for a member, 11 for an item, and the texts."""
    policy = {"operations": ["ab"], "resources": ["é", "c"]}
    members = 21 + len("p") + 21 + len("operations") + 21 + len("resources")
    assert bytes_on_lite({"p": policy}) == members + (11 + 2) + (11 + 2) + (11 + 1)


def test_every_rule_was_broken() -> None:
    broken = {rule for rule, *_ in BROKEN} | {rules.READABLE.name}  # It is in test_lint.
    assert broken == {rule.name for rule in rules.RULES}, (
        "a rule that nothing breaks may be one that nothing can break"
    )


def test_a_rule_has_a_name_of_its_own_a_reason_and_a_source() -> None:
    names = [rule.name for rule in rules.RULES]
    assert len(set(names)) == len(names)
    for rule in rules.RULES:
        assert rule.reason, rule.name
        assert rule.source, rule.name


@pytest.mark.parametrize("name", COMPONENTS)
def test_our_own_recipes_have_nothing_to_correct(name: str) -> None:
    found = rules.findings(recipe_of(name))
    assert [one.line for one in found if one.rule.severity is not Severity.INFO] == []
    assert {one.rule.name for one in found} == {"lite-has-none", "docker-init"}, (
        "Java's way out: on Lite the programs end by SIGTERM, which they handle themselves"
    )


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"Manifests": "none"},
        {"Manifests": [None, 1, {"Lifecycle": "run", "Artifacts": {"Uri": 1}, "Platform": []}]},
        {"ComponentDependencies": ["a"], "ComponentConfiguration": {"DefaultConfiguration": 3}},
        {"Manifests": [{"Lifecycle": {"run": {"Script": 7}, "startup": None}}], "Lifecycle": []},
        {"Manifests": [{"Lifecycle": {"run": "echo 'unclosed"}}]},
    ],
)
def test_a_recipe_of_any_shape_is_found_wanting_and_not_fatal(broken: dict[str, Any]) -> None:
    assert any(one.rule.name == "required-keys" for one in rules.findings(broken))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            [
                *("Manifests", "Lifecycle", "Artifacts", "Platform", "run", "Startup", "Script"),
                *("Uri", "ComponentDependencies", "ComponentConfiguration", "Setenv", "all"),
                *("DefaultConfiguration", "accessControl", "aws.greengrass.ipc.pubsub"),
            ]
        )
        | st.text(max_size=5),
        inner,
        max_size=4,
    ),
    max_leaves=20,
)


@given(recipe=st.dictionaries(st.sampled_from(list(recipe())) | st.text(max_size=5), _JSON))
@settings(max_examples=200, deadline=None)
def test_no_recipe_breaks_the_linter(recipe: dict[str, Any]) -> None:
    rules.findings(recipe)


@given(
    script=st.lists(
        st.sampled_from(
            [*"'\"\\#$(){};|&<>\n ", "docker", " run ", "-e", "--", "exit", " 0", "exec ", "pip"]
        )
    ).map("".join)
)
@settings(max_examples=300, deadline=None)
def test_no_script_breaks_its_reader(script: str) -> None:
    rules.findings(lifecycle(startup=script, install=script))


def test_a_known_size_counts_instead_of_the_compact_one() -> None:
    assert [one.rule.name for one in rules.findings(recipe(), size=8_001)] == ["recipe-size"], (
        "Lite reads the text as it is, spaces included"
    )


# Scripts


@pytest.mark.parametrize(
    ("script", "image", "arguments"),
    [
        ("docker run wine serve", "wine", ("serve",)),
        ("docker run -it --rm -p8000:80 wine", "wine", ()),
        ("docker run -e A=b --env C --memory=64m wine --verbose", "wine", ("--verbose",)),
        ("docker run \\\n  --rm \\\n  wine", "wine", ()),
        ("sudo /usr/bin/docker run --gpus all wine", "wine", ()),
        ('docker run --label "a b" wine "c d"', "wine", ("c d",)),
        ("docker run --rm wine > /tmp/log 2>&1", "wine", ()),
        ("docker run --rm", "", ()),
        ("docker container run -it wine serve", "wine", ("serve",)),
        ("docker -D -H unix:///run/d.sock --log-level=warn run wine", "wine", ()),
        ("docker run -it=false --tty=false wine", "wine", ()),
        ("docker run -dp 8000:80 wine", "wine", ()),
        ("docker run -itu 0:0 -iv/a:/b wine serve", "wine", ("serve",)),
        ("docker run --rm -- wine -d", "wine", ("-d",)),
    ],
)
def test_docker_run_is_read_as_docker_reads_it(
    script: str, image: str, arguments: tuple[str, ...]
) -> None:
    [run] = scripts.docker_runs(script)
    assert (run.image, run.arguments) == (image, arguments)


@pytest.mark.parametrize(
    ("options", "terminal"),
    [
        ("-it", True),
        ("-ti --rm", True),
        ("-dit", True),
        ("--tty=true", True),
        ("-t=1", True),
        ("--tty=false", False),
        ("-it=false", False),
        ("-i", False),
        ("-e X=-t --name t", False),
    ],
)
def test_a_terminal_is_asked_for_as_docker_reads_it(options: str, terminal: bool) -> None:
    [run] = scripts.docker_runs(f"docker run {options} wine ls -t")
    assert run.has("--tty") is terminal


def test_short_options_of_one_word_are_all_read() -> None:
    [run] = scripts.docker_runs("docker run -dp 80:80 -itu=0 -e A=b wine")
    assert run.options == (
        ("--detach", ""),
        ("-p", "80:80"),
        ("-i", ""),
        ("--tty", ""),
        ("--user", "0"),
        ("--env", "A=b"),
    )


@pytest.mark.parametrize("script", ["docker exec -it run ls", "docker ps", "docker -H", "docker"])
def test_a_command_that_runs_no_container_is_no_docker_run(script: str) -> None:
    assert scripts.docker_runs(script) == []


def test_a_script_is_its_commands_with_what_stands_before_them() -> None:
    script = "A=1 first x 2>&1 # and a comment; not a command\nif second; then exec third || exit 1"
    assert [(one.words, one.after, one.replaces_shell) for one in scripts.commands(script)] == [
        (("first", "x"), "", False),
        (("second",), "\n", False),
        (("third",), ";", True),
        (("exit", "1"), "||", False),
    ]


def test_a_recipe_is_not_changed_by_being_checked() -> None:
    written = docker(RUN)
    before = json.dumps(written)
    rules.findings(written)
    assert json.dumps(written) == before, "the published recipe is the written recipe"
