"""A mock of Pulumi's engine that remembers every registration, with what it depends on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import pulumi
from pulumi.runtime import rpc, settings
from pulumi.runtime.mocks import MockMonitor

from tests.infra.fakes import ACCOUNT, REGION

PROJECT = "edge-inference"
DIGEST = f"sha256:{'d' * 64}"
AS_REGISTERED = "9{version}9"  # Only the engine knows it, so its holder waited for it.


@dataclass(frozen=True, kw_only=True)
class Registered:
    """One resource, as the program registered it."""

    urn: str
    type: str
    name: str
    inputs: dict[str, Any]
    depends_on: frozenset[str]  # URNs
    parent: str  # URN
    retained: bool
    deletes_first: bool
    deleted_with: str  # URN
    provider: str  # The URN of the explicit provider, empty for a package's default.
    before_create: tuple[str, ...]  # hooks
    before_update: tuple[str, ...]


class Engine(MockMonitor):
    """Answers as AWS would, and keeps the requests, in order."""

    def __init__(
        self,
        *,
        upstream: dict[str, Any] | None = None,
        told: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        """`told` has other answers than usual, by function."""
        super().__init__(_Answers(upstream or {}, told or {}))
        self.registered: list[Registered] = []
        self.invoked: dict[str, str] = {}  # Functions, each with its provider as above.

    def Invoke(self, request: Any) -> Any:  # noqa: N802  # the engine's own name
        self.invoked[request.tok] = _provider(request.provider)
        return cast(Any, super()).Invoke(request)

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  # the engine's own name
        response = cast(Any, super()).RegisterResource(request)
        if request.type != "pulumi:pulumi:Stack":
            self.registered.append(
                Registered(
                    urn=response.urn,
                    type=request.type,
                    name=request.name,
                    inputs=cast(Any, rpc).deserialize_properties(request.object),
                    depends_on=frozenset(request.dependencies),
                    parent=request.parent,
                    retained=request.retainOnDelete,
                    deletes_first=request.deleteBeforeReplace,
                    deleted_with=request.deletedWith,
                    provider=_provider(request.provider),
                    before_create=tuple(request.hooks.before_create),
                    before_update=tuple(request.hooks.before_update),
                )
            )
        return response

    def of_type(self, suffix: str) -> list[Registered]:
        return [one for one in self.registered if one.type.endswith(suffix)]

    def one(self, suffix: str) -> Registered:
        [found] = self.of_type(suffix)
        return found

    def run(
        self,
        program: Callable[[], object],
        *,
        stack: str = "dev",
        config: Mapping[str, str] | None = None,
    ) -> None:
        """Run a program and everything that it left to wait for."""
        with _own_loops():
            # A stack of its own: transformations belong to a stack, and the last run's would act on
            # this run.
            cast(Any, settings).set_root_resource(None)
            pulumi.runtime.set_mocks(
                self.mocks, project=PROJECT, stack=stack, preview=False, monitor=self
            )
            pulumi.runtime.set_all_config(dict(config or {}))
            cast(Any, pulumi.runtime.test)(program)()


def _provider(reference: str) -> str:
    """The URN in URN::id, as the engine writes it."""
    return reference.rpartition("::")[0]


class _Loops(asyncio.DefaultEventLoopPolicy):
    """Remembers every loop: the mock monitor makes one in each thread and closes none.

    An update that fails leaves outputs whose exception nobody asks for. asyncio would print each of
    them when it is collected, in the middle of any later test: Python 3.11 then breaks an
    `ast.parse` that is under way (https://github.com/python/cpython/issues/106905).
    """

    def __init__(self) -> None:
        super().__init__()
        self.made: list[asyncio.AbstractEventLoop] = []

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        made = super().new_event_loop()
        made.set_exception_handler(lambda _loop, _context: None)
        self.made.append(made)
        return made


@contextmanager
def _own_loops() -> Iterator[None]:
    """Loops that no other test removes: asyncio.run() leaves its thread without a loop."""
    before, loops = asyncio.get_event_loop_policy(), _Loops()
    asyncio.set_event_loop_policy(loops)
    asyncio.set_event_loop(asyncio.new_event_loop())
    try:
        yield
    finally:
        for loop in loops.made:
            loop.close()
        asyncio.set_event_loop_policy(before)


class _Answers(pulumi.runtime.Mocks):
    def __init__(self, upstream: dict[str, Any], told: dict[str, dict[str, Any]]) -> None:
        self._upstream, self._told = upstream, told

    def call(
        self, args: pulumi.runtime.MockCallArgs
    ) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        answers: dict[str, dict[str, Any]] = {
            "aws:index/getCallerIdentity:getCallerIdentity": {"accountId": ACCOUNT},
            "aws:index/getRegion:getRegion": {"region": REGION},
            "aws-native:index:getAccountId": {"accountId": ACCOUNT},
            "aws-native:index:getRegion": {"region": REGION},
            "aws:ecr/getAuthorizationToken:getAuthorizationToken": {
                "userName": "AWS",
                "password": "made-up",
            },
            "pulumi:pulumi:readStackOutputs": {"outputs": self._upstream},
        }
        return (answers | self._told)[args.token], []

    def new_resource(
        self, args: pulumi.runtime.MockResourceArgs
    ) -> tuple[str | None, dict[str, Any]]:
        return args.name, dict(args.inputs) | self._computed(args.typ, args.inputs)

    def _computed(self, kind: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """What only the provider knows."""
        match kind.rpartition(":")[2]:
            case "Bucket":
                computed: dict[str, Any] = {"arn": f"arn:aws:s3:::{inputs['bucket']}"}
            case "BucketObjectv2":
                computed = {"arn": f"arn:aws:s3:::{inputs['bucket']}/{inputs['key']}"}
            case "Repository":
                where = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{inputs['name']}"
                arn = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{inputs['name']}"
                computed = {"arn": arn, "repositoryUrl": where}
            case "Image":
                computed = {"repoDigest": f"{inputs['imageName'].rpartition(':')[0]}@{DIGEST}"}
            case "ComponentVersion":
                version = json.loads(inputs["inlineRecipe"])["ComponentVersion"]
                computed = {"componentVersion": AS_REGISTERED.format(version=version)}
            case "Sbom":
                computed = {"key": f"{'5' * 64}/sbom-{inputs['architecture']}.json"}
            case "Deployment":
                computed = {"deploymentId": "deployment-as-created"}
            case "StackReference":
                computed = {"outputs": self._upstream, "secretOutputNames": []}
            case _:
                computed = {}
        return computed
