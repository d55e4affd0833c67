"""Recipes as the cloud reads and stores them, without a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from greenhouse.cloud.errors import ValidationException
from greenhouse.cloud.greengrassv2.recipe import fits, read_recipe, written

Make = Callable[..., dict[str, Any]]


def test_keys_of_any_case_are_stored_in_the_one_spelling_that_lite_understands() -> None:
    text = b"""
recipeformatversion: 2020-01-25
COMPONENTNAME: com.example.cases
componentVersion: 1.0.0
componentdependencies:
  aws.greengrass.TokenExchangeService: {versionrequirement: ~2.0.0, dependencytype: soft}
manifests:
  - platform: {OS: linux}
    lifecycle: {Run: "true"}
    artifacts: [{URI: "docker:alpine:3", permission: {read: all}}]
"""
    recipe = read_recipe(text)
    assert (recipe.name, recipe.version) == ("com.example.cases", "1.0.0")
    assert recipe.document["ComponentDependencies"] == {
        "aws.greengrass.TokenExchangeService": {
            "VersionRequirement": ">=2.0.0 <2.1.0",
            "DependencyType": "SOFT",
        }
    }
    (manifest,) = recipe.document["Manifests"]
    assert manifest["Platform"] == {"os": "linux"}
    assert manifest["Lifecycle"] == {"Run": "true"}, "the steps are the author's own"
    assert manifest["Artifacts"] == [
        {
            "Uri": "docker:alpine:3",
            "Unarchive": "NONE",
            "Permission": {"Read": "ALL", "Execute": "NONE"},
        }
    ]


def test_the_first_byte_decides_between_json_and_yaml(recipe: Make) -> None:
    document = recipe()
    assert (
        read_recipe(json.dumps(document).encode()).document
        == read_recipe(yaml.safe_dump(document).encode()).document
    )
    with pytest.raises(ValidationException, match="is not JSON"):
        read_recipe(b"{RecipeFormatVersion: 2020-01-25}")  # It would be good YAML.


def test_a_stored_recipe_reads_back_the_same_in_both_formats(recipe: Make) -> None:
    stored = read_recipe(json.dumps(recipe()).encode()).document
    for output_format in ("JSON", "YAML"):
        assert read_recipe(written(stored, output_format)).document == stored


@pytest.mark.parametrize("missing", ["RecipeFormatVersion", "ComponentName", "Manifests"])
def test_a_recipe_without_a_required_key_is_refused(recipe: Make, missing: str) -> None:
    document = recipe()
    del document[missing]
    with pytest.raises(ValidationException, match=f"has no {missing}"):
        read_recipe(json.dumps(document).encode())


def manifest(**changes: Any) -> list[dict[str, Any]]:
    return [{"Platform": {"os": "linux"}, "Lifecycle": {}, "Artifacts": [], **changes}]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"RecipeFormatVersion": "2021-01-01"}, "2020-01-25"),
        ({"ComponentName": "com example"}, "ComponentName"),
        ({"ComponentName": "a" * 129}, "ComponentName"),
        ({"ComponentVersion": "1.0"}, "semver"),
        ({"ComponentVersion": "1.0.1000000"}, "6 digits"),
        ({"Manifests": []}, "at least one"),
        ({"Manifest": []}, "no key 'Manifest'"),
        ({"manifests": []}, "twice"),
        ({"Manifests": manifest(Artifacts=[{"Uri": "https://x/y"}])}, "none of s3, docker"),
        ({"Manifests": manifest(Artifacts=[{"Uri": "model.json"}])}, "no scheme"),
        ({"Manifests": manifest(Artifacts=[{"Url": "s3://b/k"}])}, "no key 'Url'"),
        (
            {"Manifests": manifest(Artifacts=[{"Uri": "s3://b/k", "Unarchive": "TAR"}])},
            "NONE, ZIP",
        ),
        ({"Manifests": manifest(Lifecycle="run")}, "Lifecycle must be an object"),
        ({"ComponentDependencies": {"a": {}}}, "VersionRequirement"),
        ({"ComponentDependencies": {"a": {"VersionRequirement": "new"}}}, "npm range"),
        ({"ComponentDescription": "x" * 16_000}, "16000"),
    ],
)
def test_a_recipe_that_the_cloud_would_refuse_is_refused_with_the_place(
    recipe: Make, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValidationException, match=reason):
        read_recipe(json.dumps(recipe(**changes)).encode())


def test_what_greenhouse_does_not_model_is_refused_rather_than_guessed(recipe: Make) -> None:
    for changes in (
        {"ComponentSource": "arn:aws:lambda:eu-west-1:123456789012:function:f:1"},
        {"Manifests": manifest(Artifacts=[{"Uri": "greengrass:abc/x.zip"}])},
    ):
        with pytest.raises(ValidationException, match="greenhouse does not model"):
            read_recipe(json.dumps(recipe(**changes)).encode())


@pytest.mark.parametrize(
    ("platform", "matches"),
    [
        ({}, True),
        ({"os": "linux", "architecture": "amd64"}, True),
        ({"os": "linux", "architecture": "x86_64"}, False),  # nx-plugin-for-aws#1265
        ({"os": "all"}, True),  # The old wildcard of os and architecture.
        ({"os": "linux", "runtime": "*"}, True),
        ({"os": "linux", "runtime": "aws_nucleus_lite"}, False),
        ({"os": "/darwin|linux/"}, True),
        ({"os": "/lin/"}, False),
    ],
)
def test_a_manifest_fits_by_every_attribute_of_its_platform(
    recipe: Make, platform: dict[str, str], matches: bool
) -> None:
    document = recipe(Manifests=manifest(Platform=platform))
    assert fits(document, {"os": "linux", "architecture": "amd64"}) is matches
