"""The image of a release for both architectures, and the part of it that a device downloads.

A registry stores layers compressed, and a device fetches the layers that it lacks. So a download is
a sum over layers that another build doesn't share. Sizes are decimal megabytes, compressed means
`gzip -9`.
"""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from unittest import mock

from greenhouse.toolchain import base_images
from infra.names import CHECK, COMPONENTS, DEFAULT_NAMES, SERVICE
from infra.publish import recipe, versions_from_content
from tests.bench import model
from tests.bench.table import Row, kilobytes, megabytes

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
HERE = ARCHITECTURES[platform.machine()]
TAG = "edge-inference/bench"


_BUILT: set[str] = set()


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer of an image, by the digest of its tar."""

    digest: str
    unpacked: int
    compressed: int


@cache
def built(architecture: str = HERE, *, context: Path | None = None, base: str = "") -> str:
    """The name of an image built from this tree, or from another context."""
    base = base or base_images.RUNTIME.tag
    name = f"{TAG}:{architecture}-{'changed' if context else 'tree'}-{os.getpid()}"
    docker(
        "build",
        "--quiet",
        f"--platform=linux/{architecture}",
        f"--build-arg=BUILD_IMAGE={base_images.BUILD.tag}",
        f"--build-arg=RUNTIME_IMAGE={base}",
        f"--tag={name}",
        str(context or model.ROOT / "edge"),
    )
    _BUILT.add(name)
    return name


def remove() -> None:
    """Remove this run's names. The engine's build cache stays, and makes the next run fast."""
    if _BUILT:
        docker("image", "rm", *_BUILT)


def docker(*arguments: str) -> bytes:
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    return subprocess.run(
        ["docker", *arguments], env=environment, check=True, stdout=subprocess.PIPE
    ).stdout


def sizes() -> Iterator[Row]:
    for architecture in ARCHITECTURES.values():
        layers = image_layers(architecture)
        unpacked = sum(layer.unpacked for layer in layers)
        compressed = sum(layer.compressed for layer in layers)
        yield Row(
            what=f"image, {architecture}, unpacked",
            ours=megabytes(unpacked),
            reference=f"of it Python: {megabytes(layers[0].unpacked)}",
            bound="at most 40 MB",
            met=unpacked <= 40e6,
        )
        yield Row(
            what=f"image, {architecture}, compressed",
            ours=megabytes(compressed),
            reference=f"of it Python: {megabytes(layers[0].compressed)}",
            bound="at most 14 MB",
            met=compressed <= 14e6,
        )


def downloads() -> Iterator[Row]:
    """An existing device's download for a change: recipes and manifests, without TLS and HTTP."""
    layers = image_layers(HERE)
    model_bytes = model.MODEL.read_bytes()
    bound = len(gzip.compress(model_bytes, 9)) + 10_000
    around = _recipes(SERVICE, CHECK) + _golden_bytes()
    new_model = len(bz2.compress(model_bytes)) + around
    yield Row(
        what="a new model: bytes to the device",
        ours=f"{kilobytes(new_model)} (of it golden answers, 2 recipes: {kilobytes(around)})",
        reference=f"the model, gzip -9: {kilobytes(bound - 10_000)}",
        relation=f"{(new_model - bound + 10_000) / 1e3:+,.1f} kB",
        bound="compressed model + 10 kB",
        met=new_model <= bound,
    )
    known = {layer.digest for layer in layers}
    changed = [layer for layer in _with_changed_code() if layer.digest not in known]
    yield Row(
        what="new code: bytes to the device",
        ours=kilobytes(sum(layer.compressed for layer in changed) + _recipes(*COMPONENTS)),
        reference=f"the whole image: {kilobytes(sum(layer.compressed for layer in layers))}",
    )
    yield Row(
        what="a new base: bytes to the device",
        ours=kilobytes(layers[0].compressed + _recipes(*COMPONENTS)),
        reference=f"the whole image: {kilobytes(sum(layer.compressed for layer in layers))}",
    )


@cache
def image_layers(architecture: str) -> list[Layer]:
    """The image's layers, its Python first."""
    return _saved(
        built(architecture, base="" if architecture == HERE else foreign_base(architecture))
    )


def _with_changed_code() -> list[Layer]:
    context = model.scratch() / "changed"
    shutil.copytree(model.ROOT / "edge", context, ignore=shutil.ignore_patterns("__pycache__"))
    changed = context / "inference" / "service.py"
    changed.write_text(changed.read_text() + "\nCHANGED = True\n")
    return _saved(built(context=context))


def _saved(name: str) -> list[Layer]:
    with tarfile.open(fileobj=io.BytesIO(docker("save", name))) as archive:

        def content(path: str) -> bytes:
            member = archive.extractfile(path)
            assert member is not None, f"{path} of {name} is no file"
            return member.read()

        (manifest,) = json.loads(content("manifest.json"))
        return [_layer(content(path)) for path in manifest["Layers"]]


_LAYERS: dict[str, Layer] = {}


def _layer(tar: bytes) -> Layer:
    """A layer, compressed once in each run, as most layers belong to several images."""
    digest = hashlib.sha256(tar).hexdigest()
    if digest not in _LAYERS:
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            unpacked = sum(member.size for member in archive if member.isfile())
        _LAYERS[digest] = Layer(digest, unpacked, len(gzip.compress(tar, 9)))
    return _LAYERS[digest]


def foreign_base(architecture: str) -> str:
    """The runtime base of another architecture, made from the same packages by the same steps."""
    folder = model.scratch() / architecture
    folder.mkdir()
    apt, dockerfile = folder / "apt.conf", folder / "Dockerfile"
    apt.write_text(f'APT::Architecture "{architecture}";\nAPT::Architectures "{architecture}";\n')
    # After docker import the image would look like ours.
    dockerfile.write_text("FROM scratch\nADD root.tar /\n")
    with mock.patch.dict(os.environ, APT_CONFIG=str(apt)):
        base_images.root_archive(base_images.RUNTIME, folder)
    name = f"{TAG}:{architecture}-base-{os.getpid()}"
    docker("build", "--quiet", f"--platform=linux/{architecture}", f"--tag={name}", str(folder))
    _BUILT.add(name)
    return name


def _recipes(*names: str) -> int:
    """The bytes of the registered recipes, with names as long as real names."""
    image = f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/edge-inference/dev@sha256:{'0' * 64}"
    bucket = "s3://edge-inference-dev-123456789012-eu-west-1"
    files = (recipe.MODEL, "samples.json", "golden.json", "consumer.py")
    content = recipe.Content(
        images={"amd64": image},
        files=recipe.Files(uris={file: f"{bucket}/{'0' * 64}/{file}" for file in files}),
        memory=model.MEMORY,
        check_timeout=110,
        consumer_interval=5,
    )
    version = versions_from_content.component_version(1, "bench")
    return sum(
        len(recipe.serialise(recipe.recipes(DEFAULT_NAMES)[name](version, content)))
        for name in names
    )


def _golden_bytes() -> int:
    document = {"model": model.model().id, "predictions": model.expected(model.samples())}
    return len(versions_from_content.canonical(document))
