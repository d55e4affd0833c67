"""Component versions: immutable once created, resolved for devices, deleted one by one."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from semver import Version

from greenhouse.cloud.calls import Answer, ClientTokens, Request, drop_tags, page, put_tags, tags_of
from greenhouse.cloud.errors import (
    AccessDeniedException,
    ConflictException,
    ResourceNotFoundException,
    ValidationException,
    not_modelled,
)
from greenhouse.cloud.greengrassv2.aws_provided_components import PUBLIC_COMPONENTS, PUBLISHED
from greenhouse.cloud.greengrassv2.recipe import (
    DIGEST_ALGORITHM,
    Recipe,
    fits,
    read_recipe,
    written,
)
from greenhouse.cloud.greengrassv2.versions import BadVersion, Range, parse_range, parse_version
from greenhouse.cloud.iot_and_s3 import IotAndS3, ObjectNotReadable
from greenhouse.cloud.store import Store, dump
from greenhouse.faults import Faults
from greenhouse.home import ACCOUNT, REGION

_STATUS = {"message": "NONE", "errors": {}}  # As in the AWS CLI's examples.


def component_arn(name: str, owner: str = ACCOUNT) -> str:
    return f"arn:aws:greengrass:{REGION}:{owner}:components:{name}"


def version_arn(name: str, version: str, owner: str = ACCOUNT) -> str:
    return f"{component_arn(name, owner)}:versions:{version}"


@dataclass(frozen=True)
class ComponentVersion:
    """One version, private or AWS' own."""

    arn: str
    name: str
    version: str
    recipe: dict[str, Any]
    created: float

    @cached_property
    def precedence(self) -> Version:
        return parse_version(self.version)

    def summary(self) -> dict[str, Any]:
        """What every list and description says about it."""
        return {
            "arn": self.arn,
            "componentVersion": self.version,
            "creationTimestamp": self.created,
            "description": self.recipe.get("ComponentDescription"),
            "publisher": self.recipe.get("ComponentPublisher"),
            "platforms": [
                {"name": manifest.get("Name"), "attributes": manifest.get("Platform", {})}
                for manifest in self.recipe["Manifests"]
            ],
        }


_PUBLIC = {
    one.arn: one
    for one in (
        ComponentVersion(
            version_arn(recipe["ComponentName"], recipe["ComponentVersion"], "aws"),
            recipe["ComponentName"],
            recipe["ComponentVersion"],
            recipe,
            PUBLISHED,
        )
        for recipe in PUBLIC_COMPONENTS
    )
}


class Components:
    """The operations on components."""

    def __init__(
        self, store: Store, iot_and_s3: IotAndS3, tokens: ClientTokens, faults: Faults
    ) -> None:
        self._store, self._iot_and_s3, self._tokens = store, iot_and_s3, tokens
        self._faults = faults

    def create_version(self, request: Request) -> Answer:
        """CreateComponentVersion: read the recipe, hash the artifacts, store both.

        The developer guide says on `Digest`: AWS hashes the artifact when the component is created,
        and replaces the author's value. An object that can't be read is refused with AWS' text
        (aws-cli#6261). docker: artifacts get no digest.
        """
        operation, token = "CreateComponentVersion", request.get("clientToken")
        with self._tokens.claimed(operation, token) as earlier:
            if earlier:
                return earlier
            recipe = _requested_recipe(request)
            arn = version_arn(recipe.name, recipe.version)
            with self._store.transaction() as db:
                _refuse_existing(db, recipe, arn, tagged=bool(request.get("tags")))
            self._write_digests(recipe)
            created = time.time()
            with self._store.transaction() as db:
                _refuse_existing(db, recipe, arn, tagged=bool(request.get("tags")))
                db.execute(
                    "INSERT INTO component VALUES (?, ?, ?, ?, ?)",
                    (arn, recipe.name, recipe.version, dump(recipe.document), created),
                )
                put_tags(db, arn, request.get("tags", {}))
                answer = {
                    "arn": arn,
                    "componentName": recipe.name,
                    "componentVersion": recipe.version,
                    "creationTimestamp": created,
                    "status": {"componentState": "REQUESTED", **_STATUS},
                }
                return self._tokens.keep(db, operation, token, answer)

    def _write_digests(self, recipe: Recipe) -> None:
        digests: dict[str, str] = {}
        unreadable = []
        for artifact in recipe.artifacts():
            uri = artifact["Uri"]
            if not uri.startswith("s3://"):
                continue
            try:
                digests[uri] = digests.get(uri) or self._iot_and_s3.digest(uri)
            except ObjectNotReadable:
                unreadable.append(f"{uri} = Specified artifact resource cannot be accessed")
                continue
            artifact.update(Digest=digests[uri], Algorithm=DIGEST_ALGORITHM)
        if unreadable:
            raise ValidationException(
                "Invalid Input: Encountered following errors in Artifacts:"
                f" {{{', '.join(unreadable)}}}"
            )

    def get(self, request: Request) -> Answer:
        output_format = request.get("recipeOutputFormat", "JSON")
        with self._store.transaction() as db:
            found = find_version(db, request["arn"])
            return {
                "recipeOutputFormat": output_format,
                "recipe": written(found.recipe, output_format),
                "tags": tags_of(db, found.arn),
            }

    def describe(self, request: Request) -> Answer:
        failed = self._faults.detail("component-fails") is not None
        with self._store.transaction() as db:
            found = find_version(db, request["arn"])
            return {
                **found.summary(),
                "componentName": found.name,
                "status": {"componentState": "FAILED" if failed else "DEPLOYABLE", **_STATUS},
                "tags": tags_of(db, found.arn),
            }

    def list_names(self, request: Request) -> Answer:
        """ListComponents: private components (for PUBLIC: public), each with its newest version."""
        public = request.get("scope", "PRIVATE") == "PUBLIC"
        with self._store.transaction() as db:
            versions = list(_PUBLIC.values() if public else _private(db))
        latest: dict[str, ComponentVersion] = {}
        for one in versions:
            known = latest.get(one.name)
            if known is None or known.precedence < one.precedence:
                latest[one.name] = one
        shown, token = page(latest.values(), request, cursor=lambda one: [one.name])
        owner = "aws" if public else ACCOUNT
        return {
            "components": [
                {
                    "arn": component_arn(one.name, owner),
                    "componentName": one.name,
                    "latestVersion": one.summary(),
                }
                for one in shown
            ],
            "nextToken": token,
        }

    def list_versions(self, request: Request) -> Answer:
        """ListComponentVersions: "greater versions are listed first", says the API's model."""
        arn = request["arn"]
        with self._store.transaction() as db:
            versions = [
                one
                for one in (*_PUBLIC.values(), *_private(db))
                if one.arn.startswith(f"{arn}:versions:")
            ]
        if not versions:
            raise _not_found(arn)
        shown, token = page(
            versions,
            request,
            cursor=lambda one: [one.version],
            order=lambda seen: parse_version(*seen),
            descending=True,
        )
        return {
            "componentVersions": [
                {"componentName": one.name, "componentVersion": one.version, "arn": one.arn}
                for one in shown
            ],
            "nextToken": token,
        }

    def delete(self, request: Request) -> Answer:
        """DeleteComponent: allowed while deployments refer to the version. Those fail from then on.

        Artifacts stay, as s3:// objects and images belong to the account.
        """
        arn = request["arn"]
        if arn in _PUBLIC:
            raise AccessDeniedException(f"{arn} is AWS' own; only AWS can delete it")
        with self._store.transaction() as db:
            found = find_version(db, arn)
            db.execute("DELETE FROM component WHERE arn = ?", (found.arn,))
            drop_tags(db, found.arn)
        return {}

    def resolve(self, request: Request) -> Answer:
        """ResolveComponentCandidates: for each candidate the greatest version that fits.

        The version must meet every requirement and the device's platform. A device's own version of
        a candidate plays no part, because the model offers no digest to compare it by.
        """
        attributes = request.get("platform", {}).get("attributes", {})
        resolved = []
        with self._store.transaction() as db:
            for candidate in request.get("componentCandidates", []):
                found = _resolve(db, candidate, attributes)
                resolved.append(
                    {
                        "arn": found.arn,
                        "componentName": found.name,
                        "componentVersion": found.version,
                        "recipe": written(found.recipe, "JSON"),
                    }
                )
        return {"resolvedComponentVersions": resolved}


def _requested_recipe(request: Request) -> Recipe:
    if "lambdaFunction" in request:
        raise not_modelled("components made from Lambda functions")
    if "inlineRecipe" not in request:
        raise ValidationException("You must specify either inlineRecipe or lambdaFunction.")
    return read_recipe(request["inlineRecipe"])


def _refuse_existing(db: sqlite3.Connection, recipe: Recipe, arn: str, *, tagged: bool) -> None:
    """Refuse a version that exists, as it can't be edited.

    The text is AWS' (aws-greengrass-testing#207).
    """
    if db.execute("SELECT 1 FROM component WHERE arn = ?", (arn,)).fetchone():
        ending = " and can't be created again with tags" if tagged else ""
        raise ConflictException(
            f"Component [{recipe.name} : {recipe.version}] for account [{ACCOUNT}]"
            f" already exists{ending}.",
            resource_id=arn,
            resource_type="ComponentVersion",
        )


def _not_found(arn: str) -> ResourceNotFoundException:
    return ResourceNotFoundException(
        f"The requested component {arn} does not exist",
        resource_id=arn,
        resource_type="ComponentVersion",
    )


def _version(row: sqlite3.Row) -> ComponentVersion:
    return ComponentVersion(
        row["arn"], row["name"], row["version"], json.loads(row["recipe"]), row["created"]
    )


def _private(db: sqlite3.Connection) -> Iterable[ComponentVersion]:
    return map(_version, db.execute("SELECT * FROM component"))


def find_version(db: sqlite3.Connection, arn: str) -> ComponentVersion:
    """The version with that ARN, private or public. Raises ResourceNotFoundException."""
    if arn in _PUBLIC:
        return _PUBLIC[arn]
    row = db.execute("SELECT * FROM component WHERE arn = ?", (arn,)).fetchone()
    if row is None:
        raise _not_found(arn)
    return _version(row)


def exists(db: sqlite3.Connection, name: str, version: str) -> bool:
    """Whether a deployment may name this version."""
    if version_arn(name, version, "aws") in _PUBLIC:
        return True
    arn = version_arn(name, version)
    return db.execute("SELECT 1 FROM component WHERE arn = ?", (arn,)).fetchone() is not None


def _resolve(
    db: sqlite3.Connection, candidate: Mapping[str, Any], attributes: Mapping[str, str]
) -> ComponentVersion:
    name = candidate.get("componentName")
    requirements = candidate.get("versionRequirements", {})
    wanted = [_requirement(text) for text in requirements.values()]
    rows = db.execute("SELECT * FROM component WHERE name = ?", (name,))
    known = [*map(_version, rows), *(one for one in _PUBLIC.values() if one.name == name)]
    fitting = [
        one
        for one in known
        if all(each.admits(one.precedence) for each in wanted) and fits(one.recipe, attributes)
    ]
    if not fitting:
        asked = ", ".join(f"{who} requires {what}" for who, what in requirements.items())
        raise ResourceNotFoundException(
            f"No version of {name} satisfies the requirements ({asked or 'none'}) on platform"
            f" {dict(attributes)}; there are {[one.version for one in known]}",
            resource_id=str(name),
            resource_type="Component",
        )
    return max(fitting, key=lambda one: one.precedence)


def _requirement(text: str) -> Range:
    try:
        return parse_range(text)
    except BadVersion as error:
        raise ValidationException(f"versionRequirements: {error}") from error
