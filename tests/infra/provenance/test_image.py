"""An image's files are read as a container sees them, and only the bytes that its digest names."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from typing import Any, cast

import pytest
from botocore.exceptions import ReadTimeoutError

from infra.provenance import image
from infra.provenance.image import File, Unreadable, files, merged

_KINDS = {"": tarfile.REGTYPE, "->": tarfile.SYMTYPE, "=": tarfile.LNKTYPE, "/": tarfile.DIRTYPE}


def layer(*entries: str) -> bytes:
    """A layer: `path` (its content is its name), `path->link`, `path=hard link`, `path/`."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for entry in entries:
            mark = next(
                mark
                for mark in ("->", "=", "/", "")
                if mark in entry and not (mark == "/" and not entry.endswith("/"))
            )
            path, _, target = entry.partition(mark) if mark in ("->", "=") else (entry, "", "")
            member = tarfile.TarInfo(path.rstrip("/"))
            member.type, member.linkname = _KINDS[mark], target
            content = b"" if mark else path.encode()
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def sha(text: str | bytes) -> str:
    return hashlib.sha256(text if isinstance(text, bytes) else text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("layers", "seen"),
    [
        ([("a", "b/", "b/c", "l->b/c")], {"a": "a", "b/c": "b/c", "l": "->b/c"}),
        ([("a", "h=a")], {"a": "a", "h": "a"}),
        ([("a",), ("a->b",)], {"a": "->b"}),
        ([("d/a", "d/b", "e"), ("d/.wh.a",)], {"d/b": "d/b", "e": "e"}),
        ([("d/a", "d/f/b", "da"), (".wh.d",)], {"da": "da"}),
        ([("d/a", "d/f/b", "e"), ("d/c", "d/.wh..wh..opq")], {"d/c": "d/c", "e": "e"}),
        ([("d/a",), ("d",)], {"d": "d"}),
        ([("d",), ("d/", "d/a")], {"d/a": "d/a"}),
        ([("./a",)], {"a": "./a"}),
    ],
)
def test_layers_lie_upon_each_other_as_in_a_container(
    layers: list[tuple[str, ...]], seen: dict[str, str]
) -> None:
    found = merged(layer(*entries) for entries in layers)
    assert found == {
        path: File(path=path, link=what[2:])
        if what.startswith("->")
        else File(path=path, sha256=sha(what))
        for path, what in seen.items()
    }


def test_a_file_that_is_no_layer_is_refused_by_name() -> None:
    with pytest.raises(Unreadable, match="a layer is no tar"):
        merged([b"zstd, or an error page"])


class Ecr:
    """A repository of manifests and layers, which counts its requests."""

    def __init__(self, *layers: bytes, index: bool = False) -> None:
        self.blobs = {f"sha256:{sha(one)}": one for one in layers}
        text = json.dumps({"layers": [{"digest": digest} for digest in self.blobs]})
        self.manifests = {f"sha256:{sha(text)}": text}
        self.digest = f"sha256:{sha(text)}"
        if index:
            listed = [
                {"digest": self.digest, "platform": {"os": "linux", "architecture": "arm64"}},
                {"digest": "sha256:attested", "platform": {"os": "unknown"}},
            ]
            text = json.dumps({"manifests": listed})
            self.digest = f"sha256:{sha(text)}"
            self.manifests[self.digest] = text

    def batch_get_image(self, *, repositoryName: str, imageIds: Any, **_: Any) -> Any:  # noqa: N803
        assert repositoryName == "edge-inference/dev"
        [asked] = imageIds
        if asked["imageDigest"] not in self.manifests:
            return {"images": [], "failures": [{"failureReason": "Requested image not found"}]}
        return {"images": [{"imageManifest": self.manifests[asked["imageDigest"]]}]}

    def get_download_url_for_layer(self, *, layerDigest: str, **_: Any) -> Any:  # noqa: N803
        return {"downloadUrl": layerDigest}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, File]]:
    def read(ecr: Ecr, digest: str = "") -> dict[str, File]:
        monkeypatch.setattr(image, "_download", ecr.blobs.__getitem__)
        name = f"1.dkr.ecr.eu-west-1.amazonaws.com/edge-inference/dev@{digest or ecr.digest}"
        return files(cast(Any, ecr), name)

    return read


@pytest.mark.parametrize("index", [False, True], ids=["an image", "an index with what is attested"])
def test_the_image_of_that_digest_is_read(
    read: Callable[..., dict[str, File]], index: bool
) -> None:
    assert read(Ecr(layer("a"), layer("b"), index=index)).keys() == {"a", "b"}


def test_other_bytes_than_the_digest_names_are_refused(
    read: Callable[..., dict[str, File]],
) -> None:
    ecr = Ecr(layer("a"))
    ecr.blobs = dict.fromkeys(ecr.blobs, layer("b"))
    with pytest.raises(Unreadable, match="in place of"):
        read(ecr)
    ecr = Ecr(layer("a"))
    ecr.manifests = dict.fromkeys(ecr.manifests, '{"layers": []}')
    with pytest.raises(Unreadable, match="in place of"):
        read(ecr)


def test_an_image_that_is_not_there_is_named(read: Callable[..., dict[str, File]]) -> None:
    with pytest.raises(Unreadable, match=r"ECR has no image edge-inference/dev@sha256:gone$"):
        read(Ecr(layer("a")), "sha256:gone")


class Answer:
    def __init__(self, status_code: int, content: bytes = b"") -> None:
        self.status_code, self.content = status_code, content


def test_a_layer_is_asked_for_again_when_the_network_fails() -> None:
    answers: list[Any] = [ReadTimeoutError(endpoint_url="x"), Answer(503), Answer(200, b"layer")]

    def send(_: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert image._download("https://layers", send) == b"layer"
    answers.extend([Answer(403), Answer(200, b"too late")])
    with pytest.raises(Unreadable, match="403"):
        image._download("https://layers", send)
    assert len(answers) == 1, "a refusal isn't asked again"
    answers[:] = [Answer(500)] * 3
    with pytest.raises(Unreadable, match="500"):
        image._download("https://layers", send)
    answers[:] = [ReadTimeoutError(endpoint_url="x")] * 3
    with pytest.raises(ReadTimeoutError):
        image._download("https://layers", send)
