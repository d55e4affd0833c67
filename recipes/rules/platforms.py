"""Rules for the manifest that a device takes."""

from __future__ import annotations

import re

from recipes.document import Manifest, Recipe, get
from recipes.rules.register import (
    BOTH,
    COMMON,
    ERROR,
    GUIDE,
    JAVA,
    LITE,
    LITE_CHANGES,
    NUCLEUS,
    TRIED,
    WARNING,
    Found,
    rule,
)

ARCHITECTURES = ("amd64", "x86", "arm", "aarch64", "riscv64")


@rule("runtime-missing", ERROR, LITE, f"{TRIED}; {LITE_CHANGES}")
def _runtime_missing(recipe: Recipe) -> Found:
    """Lite skips a manifest without a runtime: "No lifecycle was found for linux"."""
    for manifest in recipe.manifests:
        if not manifest.platform.get("runtime"):
            yield f"{manifest.where}.Platform", 'add runtime: "*", which Java ignores'


@rule("runtime-lite-only", WARNING, JAVA, f"{NUCLEUS}: no runtime attribute")
def _runtime_lite_only(recipe: Recipe) -> Found:
    """the Java nucleus has no runtime of that name, so it finds no manifest."""
    runtimes = [manifest.platform.get("runtime") for manifest in recipe.manifests]
    if runtimes and all(runtime == "aws_nucleus_lite" for runtime in runtimes):
        yield f"{recipe.manifests[0].where}.Platform.runtime", 'write "*", or add a manifest for it'


@rule("platform-os", ERROR, LITE, LITE_CHANGES)
def _platform_os(recipe: Recipe) -> Found:
    """Lite needs an os in every platform."""
    for manifest in recipe.manifests:
        if not manifest.platform.get("os"):
            yield f"{manifest.where}.Platform", "add os: linux"


@rule("platform-legacy", WARNING, BOTH, f"{COMMON} PlatformHelper.java")
def _platform_legacy(recipe: Recipe) -> Found:
    """`all` and `any` are old wildcards, kept for old recipes only."""
    for manifest in recipe.manifests:
        for key in ("os", "architecture"):
            if str(manifest.platform.get(key)).lower() in ("all", "any"):
                right = "linux for a Linux script, otherwise *" if key == "os" else "*"
                yield f"{manifest.where}.Platform.{key}", f"write {right}"


@rule("architecture-name", ERROR, BOTH, "nx-plugin-for-aws #1265; PlatformHelper.java")
def _architecture_name(recipe: Recipe) -> Found:
    """Greengrass uses its own names for architectures, so this manifest never matches."""
    names = {"arm64": "aarch64", "armv8": "aarch64", "x86_64": "amd64", "x64": "amd64"}
    for manifest in recipe.manifests:
        written = str(manifest.platform.get("architecture") or "*")
        if not re.fullmatch(r"\*|all|any|/.*/", written) and written not in ARCHITECTURES:
            fix = names.get(written.lower()) or f"one of {', '.join(ARCHITECTURES)}"
            yield f"{manifest.where}.Platform.architecture", f"write {fix}, not {written}"


@rule("platform-regex", ERROR, LITE, LITE_CHANGES)
def _platform_regex(recipe: Recipe) -> Found:
    """Lite has no regular expressions in platforms."""
    for manifest in recipe.manifests:
        for key, value in manifest.platform.items():
            if re.fullmatch(r"/.*/", str(value)):
                yield f"{manifest.where}.Platform.{key}", "write a manifest for each value"


@rule("manifest-shadowed", WARNING, BOTH, f"{GUIDE}, component recipe reference")
def _manifest_shadowed(recipe: Recipe) -> Found:
    """a device takes the first manifest that fits, so it never takes this one."""
    for number, manifest in enumerate(recipe.manifests):
        for earlier in recipe.manifests[:number]:
            fits = all(
                value in ("*", "all", "any") or manifest.platform.get(key) == value
                for key, value in earlier.platform.items()
            )
            if fits and (_lite_reads(earlier) or not _lite_reads(manifest)):
                yield manifest.where, f"move it before {earlier.where}"
                break


def _lite_reads(manifest: Manifest) -> bool:
    """Whether Lite looks at the manifest at all. See runtime-missing and platform-os."""
    return bool(manifest.platform.get("os") and manifest.platform.get("runtime"))


@rule("artifacts-key", ERROR, LITE, "aws-greengrass-lite, manifest selection")
def _artifacts_key(recipe: Recipe) -> Found:
    """Lite needs an Artifacts key in every manifest, even an empty one."""
    for manifest in recipe.manifests:
        if get(manifest.settings, "Artifacts") is None:
            yield manifest.where, "add Artifacts: []"
