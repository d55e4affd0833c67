"""Recipes that both runtimes run: the rules, as functions from a recipe to findings.

Greengrass takes almost any recipe. What a device then does with it differs between the Java nucleus
and Nucleus Lite, and both are quiet about what they don't do: Lite skips a `Run`, loses the exit
code of a `startup`, calls both a success. Each rule here has a source: the public code or
documentation of Greengrass, or what the two runtimes did when they were tried (Java nucleus 2.18,
Nucleus Lite 2.6, November 2026).
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from recipes.document import Recipe, Step, as_map, get, texts
from recipes.findings import Bites, Finding, Rule, Severity
from recipes.shell import DockerRun

ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
LITE, JAVA, BOTH = Bites.LITE, Bites.JAVA, Bites.BOTH

MAX_RECIPE_BYTES = 8_000
MAX_POLICY_BYTES = 4_096
ARCHITECTURES = ("amd64", "x86", "arm", "aarch64", "riscv64")

_TRIED = "tried on the runtimes"
_GUIDE = "Greengrass developer guide"
_LITE_CHANGES = "aws-greengrass-lite docs/RECIPE_SUPPORT_CHANGES.md"
_COMMON = "aws-greengrass-component-common"
_NUCLEUS = "aws-greengrass-nucleus"

_STEPS = ("bootstrap", "install", "startup", "run", "shutdown", "recover", "uninstall")
_SPELT = {  # keys as Lite reads them, by where they stand
    "recipe": (
        *("RecipeFormatVersion", "ComponentName", "ComponentVersion", "ComponentDescription"),
        *("ComponentPublisher", "ComponentType", "ComponentSource", "ComponentConfiguration"),
        *("ComponentDependencies", "Manifests", "Lifecycle"),
    ),
    "configuration": ("DefaultConfiguration",),
    "manifest": ("Name", "Platform", "Lifecycle", "Selections", "Artifacts"),
    "step": ("Script", "RequiresPrivilege", "Skipif", "Timeout", "Setenv"),
    "artifact": ("Uri", "Unarchive", "Permission", "Digest", "Algorithm"),
    "permission": ("Read", "Execute"),
    "dependency": ("VersionRequirement", "DependencyType"),
}
_WORDS_OF_STEPS = frozenset(_STEPS) | {"setenv"}

_VARIABLE = re.compile(r"\{([\w.-]+:)?(configuration|artifacts|work|kernel|iot):([^:{}]*)\}")
_PRIVATE_ECR = re.compile(r"docker:\d{12}\.dkr\.ecr\.")
_PROVIDED = "aws.greengrass."
_DOCKER_MANAGER = "aws.greengrass.DockerApplicationManager"
_TOKEN_EXCHANGE = "aws.greengrass.TokenExchangeService"  # noqa: S105  # a component's name
_SECRETS = (
    *("SVCUID", "AWS_CONTAINER_AUTHORIZATION_TOKEN"),
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
)
_KEY = re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAWS_SECRET_ACCESS_KEY=[A-Za-z0-9/+]{20}")
# long options that a program is unlikely to have too
_DOCKERS_OWN = frozenset(
    {
        *("--network", "--net", "--privileged", "--volume", "--mount", "--publish", "--rm"),
        *("--restart", "--gpus", "--cap-add", "--cap-drop", "--security-opt", "--read-only"),
        *("--pids-limit", "--entrypoint", "--ipc", "--shm-size", "--tmpfs", "--env-file"),
    }
)


# The rules

Found = Iterable[tuple[str, str]]  # where, and what to write instead
_CHECKS: list[tuple[Rule, Callable[[Recipe], Found]]] = []


def _rule(
    name: str, severity: Severity, bites: Bites, source: str
) -> Callable[[Callable[[Recipe], Found]], Callable[[Recipe], Found]]:
    """Make a rule of a function: its docstring, in one line, is the reason."""

    def register(check: Callable[[Recipe], Found]) -> Callable[[Recipe], Found]:
        reason = " ".join((check.__doc__ or "").split()).rstrip(".")
        rule = Rule(name=name, severity=severity, bites=bites, reason=reason, source=source)
        _CHECKS.append((rule, check))
        return check

    return register


def findings(recipe: Mapping[str, Any], *, size: int | None = None) -> list[Finding]:
    """What is wrong with a recipe, errors first.

    `size` is that of its text in bytes, by default that of compact JSON.
    """
    if size is None:
        size = len(json.dumps(recipe, separators=(",", ":"), default=str).encode())
    read = Recipe(given=recipe, bytes=size)
    found = [
        Finding(rule=rule, where=where, fix=fix)
        for rule, check in _CHECKS
        for where, fix in check(read)
    ]
    return sorted(found, key=lambda one: list(Severity).index(one.rule.severity))


# What a recipe has to have

READABLE = Rule(  # for whoever reads the text
    name="readable",
    severity=ERROR,
    bites=BOTH,
    reason="the cloud takes JSON, which begins with {, and YAML",
    source="nx-plugin-for-aws #1265",
)


@_rule("required-keys", ERROR, BOTH, f"{_COMMON} recipe_schema.json")
def _required_keys(recipe: Recipe) -> Found:
    """the cloud refuses a recipe without its four required keys."""
    if recipe.text("RecipeFormatVersion") != "2020-01-25":
        yield "RecipeFormatVersion", "write RecipeFormatVersion: '2020-01-25'"
    for key in ("ComponentName", "ComponentVersion"):
        if not recipe.text(key):
            yield key, f"add {key}"
    if not recipe.manifests:
        yield "Manifests", "add a list of at least one manifest"


@_rule("component-name", ERROR, BOTH, f"{_COMMON} ComponentRecipe.java")
def _component_name(recipe: Recipe) -> Found:
    """a name is at most 128 letters, digits, hyphens, underscores and dots."""
    name = recipe.text("ComponentName")
    if name and not re.fullmatch(r"[\w.-]{1,128}", name, re.ASCII):
        yield "ComponentName", f"rename '{name}', in reverse domain notation"


@_rule("version-format", ERROR, BOTH, f"{_COMMON} ComponentRecipe.java")
def _version_format(recipe: Recipe) -> Found:
    """a version is MAJOR.MINOR.PATCH, each of at most six digits and without a leading zero."""
    version = recipe.text("ComponentVersion")
    core = re.split(r"[-+]", version, maxsplit=1)[0]
    if version and not re.fullmatch(r"(0|[1-9]\d{0,5})(\.(0|[1-9]\d{0,5})){2}", core):
        yield "ComponentVersion", f"'{version}' is no such version: write 1.0.0"


@_rule("version-digits", ERROR, LITE, f"{_TRIED} (lite-prerelease-*)")
def _version_digits(recipe: Recipe) -> Found:
    """Lite's store splits file names at the last hyphen: a version with a prerelease part fails."""
    version = recipe.text("ComponentVersion")
    if re.search(r"[-+]", version):
        yield "ComponentVersion", f"digits only: {re.split(r'[-+]', version)[0]}"


@_rule("recipe-size", ERROR, LITE, "aws-greengrass-lite recipe.c, docker clean-up")
def _recipe_size(recipe: Recipe) -> Found:
    """Lite reads recipes into buffers of 8,196 and 8,192 bytes."""
    if recipe.bytes > MAX_RECIPE_BYTES:
        fix = f"{recipe.bytes} bytes; {MAX_RECIPE_BYTES} fit: fewer architectures in one recipe"
        yield "recipe", f"{fix}, or scripts as artifacts"


# Spelling


@_rule("step-case", ERROR, LITE, _LITE_CHANGES)
def _step_case(recipe: Recipe) -> Found:
    """Lite knows steps by their lower-case names only, and skips all others."""
    for step in recipe.steps:
        written = step.where.rpartition(".")[2]
        if step.name in _STEPS and written != step.name:
            yield step.where, f"write {step.name}"


@_rule("key-case", ERROR, LITE, _LITE_CHANGES)
def _key_case(recipe: Recipe) -> Found:
    """Lite reads keys as they are spelt: to it, a `URI` is no `Uri`."""
    for where, keys, kind in _spelt_places(recipe):
        for key in keys:
            right = next((one for one in _SPELT[kind] if one.lower() == key.lower()), key)
            if right != key:
                yield f"{where}.{key}".removeprefix("."), f"write {right}"


@_rule("unknown-key", WARNING, BOTH, f"{_COMMON} recipe_schema.json")
def _unknown_key(recipe: Recipe) -> Found:
    """no runtime reads it; at the top of a recipe, the schema forbids it."""
    for where, keys, kind in _spelt_places(recipe):
        for key in keys:
            if key.lower() not in {one.lower() for one in _SPELT[kind]}:
                yield f"{where}.{key}".removeprefix("."), _nearest(key, _SPELT[kind])
    for step in recipe.steps:
        if step.name not in _WORDS_OF_STEPS:
            yield step.where, _nearest(step.name, _STEPS)


def _nearest(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.6)
    return f"remove it, or write {near[0]}" if near else "remove it"


def _spelt_places(recipe: Recipe) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    yield "", recipe.given, "recipe"
    configuration = as_map(get(recipe.given, "ComponentConfiguration"))
    yield "ComponentConfiguration", configuration, "configuration"
    for name, dependency in recipe.dependencies.items():
        yield f"ComponentDependencies.{name}", dependency, "dependency"
    for manifest in recipe.manifests:
        yield manifest.where, manifest.settings, "manifest"
        environment = {key: None for key in manifest.lifecycle if key.lower() == "setenv"}
        yield f"{manifest.where}.Lifecycle", environment, "step"
    for step in recipe.steps:
        yield step.where, step.settings, "step"
    for artifact in recipe.artifacts:
        yield artifact.where, artifact.settings, "artifact"
        permission = as_map(get(artifact.settings, "Permission"))
        yield f"{artifact.where}.Permission", permission, "permission"


# Platforms


@_rule("runtime-missing", ERROR, LITE, f"{_TRIED}; {_LITE_CHANGES}")
def _runtime_missing(recipe: Recipe) -> Found:
    """Lite skips a manifest without a runtime: "No lifecycle was found for linux"."""
    for manifest in recipe.manifests:
        if not manifest.platform.get("runtime"):
            yield f"{manifest.where}.Platform", 'add runtime: "*", which Java ignores'


@_rule("runtime-lite-only", WARNING, JAVA, f"{_NUCLEUS}: no runtime attribute")
def _runtime_lite_only(recipe: Recipe) -> Found:
    """the Java nucleus has no runtime of that name: it finds no manifest at all."""
    runtimes = [manifest.platform.get("runtime") for manifest in recipe.manifests]
    if runtimes and all(runtime == "aws_nucleus_lite" for runtime in runtimes):
        yield f"{recipe.manifests[0].where}.Platform.runtime", 'write "*", or add a manifest for it'


@_rule("platform-os", ERROR, LITE, _LITE_CHANGES)
def _platform_os(recipe: Recipe) -> Found:
    """Lite needs an os in every platform."""
    for manifest in recipe.manifests:
        if not manifest.platform.get("os"):
            yield f"{manifest.where}.Platform", "add os: linux"


@_rule("platform-legacy", WARNING, BOTH, f"{_COMMON} PlatformHelper.java")
def _platform_legacy(recipe: Recipe) -> Found:
    """`all` and `any` are wildcards of old, kept for old recipes only."""
    for manifest in recipe.manifests:
        for key in ("os", "architecture"):
            if str(manifest.platform.get(key)).lower() in ("all", "any"):
                right = "linux where the script is a Linux one, else *" if key == "os" else "*"
                yield f"{manifest.where}.Platform.{key}", f"write {right}"


@_rule("architecture-name", ERROR, BOTH, "nx-plugin-for-aws #1265; PlatformHelper.java")
def _architecture_name(recipe: Recipe) -> Found:
    """Greengrass has names of its own for architectures; a manifest for another never matches."""
    names = {"arm64": "aarch64", "armv8": "aarch64", "x86_64": "amd64", "x64": "amd64"}
    for manifest in recipe.manifests:
        written = str(manifest.platform.get("architecture") or "*")
        if not re.fullmatch(r"\*|all|any|/.*/", written) and written not in ARCHITECTURES:
            fix = names.get(written.lower()) or f"one of {', '.join(ARCHITECTURES)}"
            yield f"{manifest.where}.Platform.architecture", f"write {fix}, not {written}"


@_rule("platform-regex", ERROR, LITE, _LITE_CHANGES)
def _platform_regex(recipe: Recipe) -> Found:
    """Lite has no regular expressions in platforms."""
    for manifest in recipe.manifests:
        for key, value in manifest.platform.items():
            if re.fullmatch(r"/.*/", str(value)):
                yield f"{manifest.where}.Platform.{key}", "write a manifest for each value"


@_rule("manifest-shadowed", WARNING, BOTH, f"{_GUIDE}, component recipe reference")
def _manifest_shadowed(recipe: Recipe) -> Found:
    """the first manifest that fits is taken: this one never is."""
    for number, manifest in enumerate(recipe.manifests):
        for earlier in recipe.manifests[:number]:
            if all(
                value in ("*", "all", "any") or manifest.platform.get(key) == value
                for key, value in earlier.platform.items()
            ):
                yield manifest.where, f"move it before {earlier.where}"
                break


@_rule("artifacts-key", ERROR, LITE, "aws-greengrass-lite, manifest selection")
def _artifacts_key(recipe: Recipe) -> Found:
    """Lite needs an Artifacts key in every manifest, if only an empty one."""
    for manifest in recipe.manifests:
        if get(manifest.settings, "Artifacts") is None:
            yield manifest.where, "add Artifacts: []"


# Lifecycles


@_rule("global-lifecycle", ERROR, LITE, _LITE_CHANGES)
def _global_lifecycle(recipe: Recipe) -> Found:
    """Lite takes a global lifecycle only under the key `all`."""
    everywhere = as_map(get(recipe.given, "Lifecycle"))
    if everywhere and "all" not in everywhere:
        yield "Lifecycle", "move the steps into the manifest's own Lifecycle"


@_rule("startup-or-run", ERROR, BOTH, f"{_GUIDE}, component recipe reference")
def _startup_or_run(recipe: Recipe) -> Found:
    """a component has either a startup or a run."""
    for manifest in recipe.manifests:
        if {"startup", "run"} <= {step.name for step in manifest.steps}:
            yield f"{manifest.where}.Lifecycle", "keep one: startup where it has to succeed"


@_rule("component-type", ERROR, LITE, _LITE_CHANGES)
def _component_type(recipe: Recipe) -> Found:
    """Lite runs generic components only."""
    kind = recipe.text("ComponentType")
    if kind and kind != "aws.greengrass.generic":
        yield "ComponentType", f"{kind} has no portable form: make it a generic component"


@_rule("lite-has-none", INFO, LITE, _LITE_CHANGES)
def _lite_has_none(recipe: Recipe) -> Found:
    """Lite doesn't run it: what has to happen at a stop belongs into the SIGTERM handler."""
    for step in recipe.steps:
        if step.name in ("shutdown", "recover", "uninstall"):
            yield step.where, "keep it for Java, and let the program clean up on SIGTERM"
        if get(step.settings, "Skipif") is not None:
            yield f"{step.where}.Skipif", "let the script itself look whether it has to do anything"


@_rule("startup-leaves-early", ERROR, LITE, f"{_TRIED} (lite-startup-exit0)")
def _startup_leaves_early(recipe: Recipe) -> Found:
    """Lite appends its notification to the script: a shell that is gone before it has failed."""
    for step in _of(recipe, "startup"):
        if any(
            command.replaces_shell
            or command.words == ("exit", "0")
            or (command.after != "||" and command.words in (("exit",), ("exit", "$?")))
            for command in step.commands
        ):
            yield step.where, "let a good start fall through to the end of the script"


@_rule("startup-gate", ERROR, LITE, f"{_TRIED} (lite-startup-ok, lite-startup-exit1)")
def _startup_gate(recipe: Recipe) -> Found:
    """Lite's own last line hides the exit code of ours: a failed start SUCCEEDED."""
    for step in _of(recipe, "startup"):
        ends = step.commands[-1:]
        guarded = any(end.words[0] == "exit" for end in ends)  # a good one leaves early: see there
        strict = any(
            command.words[0] == "set" and re.match(r"-\w*e", "".join(command.words[1:2]))
            for command in step.commands
        )
        if ends and not guarded and not strict:
            yield step.where, "end the script with: || exit 1"


@_rule("install-timeout", WARNING, BOTH, f"{_GUIDE}, component recipe reference")
def _install_timeout(recipe: Recipe) -> Found:
    """an install is killed after 120 seconds, which a slow network easily takes."""
    for step in _of(recipe, "install"):
        fetches = any(
            {"install", "pull", "build"} & set(command.words) for command in step.commands
        )
        if fetches and get(step.settings, "Timeout") is None:
            yield step.where, "give the step a Timeout in seconds"


@_rule("pip-unpinned", WARNING, BOTH, "pip.pypa.io/en/stable/topics/repeatable-installs")
def _pip_unpinned(recipe: Recipe) -> Found:
    """the next device, or the next day, gets another version under the same component version."""
    for step in recipe.steps:
        for command in step.commands:
            for package in _pip_packages(list(command.words)):
                if not re.search(r"==|@|[/\\$]|\.whl$", package):
                    yield step.where, f"write {package.split('>')[0]}==VERSION"


def _pip_packages(words: list[str]) -> list[str]:
    """What `pip install` is asked for by name."""
    at = next(
        (
            number
            for number, word in enumerate(words[:-1])
            if re.fullmatch(r"(.*/)?pip[\d.]*", word) and words[number + 1] == "install"
        ),
        None,
    )
    if at is None:
        return []
    packages, rest = [], words[at + 2 :]
    while rest:
        word = rest.pop(0)
        if word in ("-r", "--requirement", "-c", "--constraint", "-i", "--index-url", "-t"):
            rest = rest[1:]
        elif not word.startswith(("-", "{")):
            packages.append(word)
    return packages


@_rule("sudo", WARNING, BOTH, f"{_GUIDE}, component recipe reference")
def _sudo(recipe: Recipe) -> Found:
    """the user that runs components is usually no sudoer, and nobody types its password."""
    for step in recipe.steps:
        if any(command.name == "sudo" for command in step.commands):
            yield step.where, "drop sudo and write RequiresPrivilege: true"


# Recipe variables


@_rule("script-brace", ERROR, LITE, f"{_TRIED} (lite-interp-bad-*, lite-setenv-bad)")
def _script_brace(recipe: Recipe) -> Found:
    """Lite takes every { in a script for a recipe variable and fails on any other."""
    for where, text in _interpolated(recipe):
        if "{" in (rest := _VARIABLE.sub("", text)):
            found = rest[max(rest.index("{") - 1, 0) :].split("\n")[0][:24]
            yield where, f"write it without braces ($NAME for a variable): {found}"


@_rule("variable-of-another", ERROR, LITE, _LITE_CHANGES)
def _variable_of_another(recipe: Recipe) -> Found:
    """Lite has no variables of other components."""
    for where, text in _interpolated(recipe):
        for match in _VARIABLE.finditer(text):
            if match[1]:
                yield where, f"give the component the value itself: {match[0]}"


@_rule("variable-pointer", ERROR, JAVA, f"{_TRIED} (java-interp-bad)")
def _variable_pointer(recipe: Recipe) -> Found:
    """a configuration variable without its leading slash fails the whole deployment on Java."""
    for where, text in _interpolated(recipe):
        for match in _VARIABLE.finditer(text):
            if match[2] == "configuration" and not match[3].startswith("/"):
                yield where, f"write {{configuration:/{match[3]}}}"


@_rule("variable-missing", WARNING, BOTH, f"{_TRIED} (lite-interp-bad-xbmiss, java-interp-bad-3)")
def _variable_missing(recipe: Recipe) -> Found:
    """where no deployment sets the value, Lite fails the step and Java leaves the text as it is."""
    for where, text in _interpolated(recipe):
        for match in _VARIABLE.finditer(text):
            of_another, kind, pointer = match.groups()
            own = kind == "configuration" and not of_another and pointer.startswith("/")
            if own and not _has(recipe.defaults, pointer.strip("/").split("/")):
                yield where, f"give DefaultConfiguration a value at {pointer}"


def _has(value: Any, keys: Sequence[str]) -> bool:
    """Whether a JSON pointer's keys lead anywhere; as Lite has it, in their very spelling."""
    for key in keys:
        if isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, dict) and key in value:
            value = value[key]
        else:
            return False
    return True


@_rule("variable-quoting", INFO, BOTH, f"{_TRIED} (lite-env-interp-exit0, java-env-interp-exit0)")
def _variable_quoting(recipe: Recipe) -> Found:
    """Lite quotes a configuration's value for the shell, Java inserts it raw."""
    for step in recipe.steps:
        if "{configuration:" in step.script:
            yield step.where, "keep to values that need no quotes, or hand them over by Setenv"


@_rule("variable-in-default", WARNING, BOTH, f"{_GUIDE}, recipe variables; {_LITE_CHANGES}")
def _variable_in_default(recipe: Recipe) -> Found:
    """a default is only interpolated where the Java nucleus was configured to."""
    for key, value in recipe.defaults.items():
        if key.lower() != "accesscontrol":
            for where, text in texts(f"DefaultConfiguration.{key}", value):
                if _VARIABLE.search(text):
                    yield where, "use the variable in the script"


def _interpolated(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """The texts in which runtimes look for variables: scripts and their environments."""
    for step in recipe.steps:
        yield step.where, step.script
        yield from texts(f"{step.where}.Setenv", get(step.settings, "Setenv"))
    for manifest in recipe.manifests:
        yield from texts(f"{manifest.where}.Lifecycle.Setenv", get(manifest.lifecycle, "Setenv"))


# Artifacts and images


@_rule("artifact-uri", ERROR, BOTH, f"{_NUCLEUS} ArtifactDownloaderFactory.java")
def _artifact_uri(recipe: Recipe) -> Found:
    """an artifact is an s3:, greengrass: or docker: URI, and variables in it stay as they are."""
    for artifact in recipe.artifacts:
        if not artifact.uri.startswith(("s3://", "greengrass:", "docker:")) or "{" in artifact.uri:
            yield artifact.where, f"'{artifact.uri}' can't be downloaded: write s3://BUCKET/KEY"


@_rule("artifact-digest", INFO, BOTH, f"{_GUIDE}, component recipe reference")
def _artifact_digest(recipe: Recipe) -> Found:
    """the cloud computes the digest itself and replaces what is written here."""
    for artifact in recipe.artifacts:
        if get(artifact.settings, "Digest") is not None:
            yield f"{artifact.where}.Digest", "remove it"


@_rule("artifact-owner", ERROR, BOTH, f"{_TRIED}; {_GUIDE}, component recipe reference")
def _artifact_owner(recipe: Recipe) -> Found:
    """only its owner reads an artifact by default, and the container runs as somebody else."""
    for manifest in recipe.manifests:
        stranger = any(
            user not in ("0", "root", "0:0", "root:root")
            for step in manifest.steps
            for run in step.docker_runs
            if any("{artifacts:" in mount for mount in run.values("--volume", "--mount"))
            for user in run.values("--user")
        )
        for artifact in manifest.artifacts if stranger else ():
            reads = get(as_map(get(artifact.settings, "Permission")), "Read")
            if not artifact.image and str(reads).upper() != "ALL":
                yield artifact.where, "add Permission: {Read: ALL}"


@_rule("image-tag-and-digest", ERROR, JAVA, f"{_NUCLEUS} DockerImageArtifactParser.java")
def _image_tag_and_digest(recipe: Recipe) -> Found:
    """Java takes a tag or a digest, and refuses a reference with both."""
    for artifact in recipe.artifacts:
        name, digest = _split(artifact.image)
        if digest and _tag(name):
            yield artifact.where, f"write docker:{name.rpartition(':')[0]}@{digest}"


@_rule("image-latest", WARNING, BOTH, f"{_NUCLEUS} docker plugin; {_GUIDE}")
def _image_latest(recipe: Recipe) -> Found:
    """`latest` is another image tomorrow, under the same component version."""
    for artifact in recipe.artifacts:
        name, digest = _split(artifact.image)
        if name and not digest and _tag(name) in ("", "latest"):
            yield artifact.where, f"name its digest: {artifact.uri.split(':latest')[0]}@sha256:…"


@_rule("image-tag", INFO, BOTH, f"{_NUCLEUS} 2.10, docker plugin")
def _image_tag(recipe: Recipe) -> Found:
    """an image is only pulled where none of that tag is there: a moved tag isn't noticed."""
    for artifact in recipe.artifacts:
        name, digest = _split(artifact.image)
        if not digest and _tag(name) not in ("", "latest"):
            yield artifact.where, "name its digest, unless the repository's tags are immutable"


@_rule("image-not-declared", WARNING, BOTH, f"{_GUIDE}, run a Docker container")
def _image_not_declared(recipe: Recipe) -> Found:
    """what is run wasn't downloaded: docker fetches it at the start, without credentials."""
    for manifest in recipe.manifests:
        declared = {artifact.image for artifact in manifest.artifacts if artifact.image}
        for step in manifest.steps:
            for run in step.docker_runs:
                if run.image and not re.search(r"[${]", run.image) and run.image not in declared:
                    yield (
                        step.where,
                        f"add Uri: docker:{run.image} to its artifacts, letter by letter",
                    )


@_rule("docker-dependency", ERROR, JAVA, f"{_NUCLEUS}, checks before download")
def _docker_dependency(recipe: Recipe) -> Found:
    """Java refuses docker artifacts in a deployment without the Docker application manager."""
    if any(artifact.image for artifact in recipe.artifacts):
        yield from _missing(recipe, _DOCKER_MANAGER)


@_rule("ecr-dependency", ERROR, JAVA, f"{_NUCLEUS}, checks before download")
def _ecr_dependency(recipe: Recipe) -> Found:
    """Java refuses a private ECR's images in a deployment without the token exchange service."""
    if any(_PRIVATE_ECR.match(artifact.uri) for artifact in recipe.artifacts):
        yield from _missing(recipe, _TOKEN_EXCHANGE)


@_rule("credentials-dependency", WARNING, JAVA, f"{_GUIDE}, token exchange service")
def _credentials_dependency(recipe: Recipe) -> Found:
    """Java sets the credentials' address only where the token exchange service is a dependency."""
    if any("AWS_CONTAINER_CREDENTIALS_FULL_URI" in step.script for step in recipe.steps):
        yield from _missing(recipe, _TOKEN_EXCHANGE)


def _missing(recipe: Recipe, component: str) -> Found:
    if component not in recipe.dependencies:
        yield "ComponentDependencies", f'add {component}: {{VersionRequirement: "^2.0.0"}}'


def _split(image: str) -> tuple[str, str]:
    name, _, digest = image.partition("@")
    return name, digest


def _tag(name: str) -> str:
    """The tag of a name; a registry's port is none."""
    return name.rpartition("/")[2].partition(":")[2]


# Containers


@_rule("docker-option-late", ERROR, BOTH, "docs.docker.com/reference/cli/docker/container/run")
def _docker_option_late(recipe: Recipe) -> Found:
    """an option after the image is an argument to the program in it; docker never sees it."""
    for step, run in _containers(recipe):
        for word in run.arguments:
            if word.partition("=")[0] in _DOCKERS_OWN:
                yield step.where, f"move {word} before {run.image}"


@_rule("docker-secret-in-argv", WARNING, BOTH, f"{_GUIDE}, run a Docker container")
def _docker_secret_in_argv(recipe: Recipe) -> Found:
    """every process of the device can read a secret that stands in a command line."""
    for step, run in _containers(recipe):
        for value in run.values("--env"):
            name, given, _ = value.partition("=")
            if given and name in _SECRETS:
                yield step.where, f"write -e {name}: docker takes the value from its environment"


@_rule("docker-network-host", WARNING, BOTH, f"{_GUIDE}, run a Docker container")
def _docker_network_host(recipe: Recipe) -> Found:
    """only the credentials' address needs the device's network; IPC is a mounted socket."""
    for step, run in _containers(recipe):
        host = "host" in run.values("--network", "--net")
        if host and "AWS_CONTAINER_CREDENTIALS_FULL_URI" not in " ".join(run.values("--env")):
            yield step.where, "drop it, publish single ports, or write --network none"


@_rule("docker-detached", WARNING, BOTH, f"{_TRIED}; {_NUCLEUS} GenericExternalService.java")
def _docker_detached(recipe: Recipe) -> Found:
    """the nucleus watches the docker client, not the container: it sees no crash, stops nothing."""
    for step, run in _containers(recipe):
        if run.has("--detach") or run.has("-d"):
            yield step.where, "run it in the foreground: exec docker run … in run"


@_rule("docker-rm", WARNING, JAVA, f"{_NUCLEUS} 2.10, docker clean-up")
def _docker_rm(recipe: Recipe) -> Found:
    """a stopped container holds its image, which the clean-up then can't remove."""
    for step, run in _containers(recipe):
        if not run.has("--rm"):
            yield step.where, "add --rm before the image"


@_rule("docker-name", WARNING, BOTH, f"{_NUCLEUS} UnixExec.java, #1685, #1724")
def _docker_name(recipe: Recipe) -> Found:
    """a container that outlived its client can't be found again, and runs beside the next."""
    for step, run in _containers(recipe):
        if not run.has("--name"):
            yield step.where, "add --name NAME, and docker rm -f NAME before it"


@_rule("docker-init", INFO, BOTH, f"{_NUCLEUS} UnixExec.java: SIGKILL after 5 s")
def _docker_init(recipe: Recipe) -> Found:
    """a program that is process 1 and doesn't handle SIGTERM ignores it."""
    for step, run in _containers(recipe):
        if not run.has("--init"):
            yield step.where, "add --init before the image"


@_rule("socket-path", ERROR, LITE, f"{_TRIED} (lite-ipc-socket, java-ipc-socket)")
def _socket_path(recipe: Recipe) -> Found:
    """the IPC socket has another name on Lite."""
    for step in recipe.steps:
        if "/ipc.socket" in step.script:
            variable = "$AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"
            yield step.where, f"write {variable} for its path"


@_rule("secret-in-recipe", ERROR, BOTH, "greengrassv2 GetComponent answers with the recipe")
def _secret_in_recipe(recipe: Recipe) -> Found:
    """whoever may read the component reads its credentials."""
    for where, text in recipe.texts():
        if _KEY.search(text):
            yield where, "remove and revoke the key: components get theirs by token exchange"


# Dependencies and rights


@_rule("hard-dependency", WARNING, LITE, f"{_TRIED}; lite units: BindsTo")
def _hard_dependency(recipe: Recipe) -> Found:
    """on Lite a hard dependent stays down when what it depends on crashed and came back."""
    for name, dependency in recipe.dependencies.items():
        kind = str(get(dependency, "DependencyType") or "HARD").upper()
        if kind == "HARD" and not name.startswith(_PROVIDED):
            yield (
                f"ComponentDependencies.{name}",
                "write DependencyType: SOFT",
            )


@_rule("dependency-range", INFO, LITE, "aws-greengrass-lite ggl-semver")
def _dependency_range(recipe: Recipe) -> Found:
    """Lite itself reads no ~, ^ or ||; the cloud translates them, a local deployment doesn't."""
    for name, dependency in recipe.dependencies.items():
        wanted = str(get(dependency, "VersionRequirement") or "")
        if re.search(r"[~^]|\|\|", wanted) and not name.startswith(_PROVIDED):
            yield f"ComponentDependencies.{name}", f"write {wanted} as >=A <B"


@_rule("rights-mqtt-wildcard", ERROR, BOTH, f"{_TRIED} (java-ipc-authz, lite-ipc-authz)")
def _rights_mqtt_wildcard(recipe: Recipe) -> Found:
    """in the rights to local topics, + and # are letters like any other."""
    for where, resource in recipe.pubsub_resources:
        if re.search(r"[+#]", resource):
            yield where, f"write {re.sub('[+#]', '*', resource)}"


@_rule("rights-question-mark", ERROR, LITE, f"{_TRIED} (lite-ipc-resource-question)")
def _rights_question_mark(recipe: Recipe) -> Found:
    """Java skips a resource with a bare ?, Lite fails the deployment."""
    for where, resource in recipe.pubsub_resources:
        if "?" in resource.replace("${?}", ""):
            yield where, "write ${?} for the letter itself"


@_rule("rights-any-topic", WARNING, BOTH, f"{_GUIDE}, authorization policies")
def _rights_any_topic(recipe: Recipe) -> Found:
    """a component that may use every local topic hears and imitates all the others."""
    for where, resource in recipe.pubsub_resources:
        if resource == "*":
            yield where, "name the topics"


@_rule("rights-policy-id", INFO, BOTH, f"{_GUIDE}, interprocess communication")
def _rights_policy_id(recipe: Recipe) -> Found:
    """a policy's id is to be unique among all components of a device."""
    component = recipe.text("ComponentName")
    for policies in recipe.policies.values():
        for name in policies:
            if not name.startswith(component):
                yield f"accessControl.{name}", f"begin it with {component}:"


@_rule("rights-size", ERROR, LITE, f"{_TRIED}; aws-greengrass-lite, policy buffer")
def _rights_size(recipe: Recipe) -> Found:
    """Lite reads the policies of one service into 4,096 bytes."""
    for service, policies in recipe.policies.items():
        size = len(json.dumps(policies, separators=(",", ":")).encode())
        if size > MAX_POLICY_BYTES:
            yield f"accessControl.{service}", f"{size} bytes: join topics under one *"


def _of(recipe: Recipe, name: str) -> Iterator[Step]:
    return (step for step in recipe.steps if step.name == name)


def _containers(recipe: Recipe) -> Iterator[tuple[Step, DockerRun]]:
    return ((step, run) for step in recipe.steps for run in step.docker_runs)


RULES: tuple[Rule, ...] = (READABLE, *(rule for rule, _ in _CHECKS))
