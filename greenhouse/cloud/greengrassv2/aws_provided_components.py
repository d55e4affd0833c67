"""The AWS-provided components that recipes here depend on.

Names and versions are AWS' own, as far as public evidence goes. Nucleus is 2.18.0 (tags reach
2.18.2). TokenExchangeService is 2.0.3 (the only version listed). DockerApplicationManager is 2.0.8
(the newest number documented), with a soft dependency on Nucleus >=2.1.0 <3.0.0. greenhouse's
device does what AWS' artifacts do, so the manifests here are empty.
"""

from __future__ import annotations

from typing import Any

from greenhouse.cloud.greengrassv2.recipe import FORMAT_VERSION

PUBLISHED = 1_784_160_000.0  # 2026-07-16, the day of Nucleus' newest tag.


def _component(
    name: str,
    version: str,
    *,
    kind: str,
    description: str,
    dependencies: dict[str, dict[str, str]] | None = None,
) -> dict[str, Any]:
    return {
        "RecipeFormatVersion": FORMAT_VERSION,
        "ComponentName": name,
        "ComponentVersion": version,
        "ComponentType": kind,
        "ComponentDescription": description,
        "ComponentPublisher": "AWS",
        "ComponentDependencies": dependencies or {},
        "Manifests": [
            {"Platform": {"os": "linux", "runtime": "*"}, "Lifecycle": {}, "Artifacts": []}
        ],
        "Lifecycle": {},
    }


PUBLIC_COMPONENTS = (
    _component(
        "aws.greengrass.Nucleus",
        "2.18.0",
        kind="aws.greengrass.nucleus",
        description="Core functionality of a core device; here: greenhouse's device itself.",
    ),
    _component(
        "aws.greengrass.TokenExchangeService",
        "2.0.3",
        kind="aws.greengrass.plugin",
        description="AWS credentials for components; here: built into greenhouse's device.",
    ),
    _component(
        "aws.greengrass.DockerApplicationManager",
        "2.0.8",
        kind="aws.greengrass.generic",
        description="Pulls images of docker: artifacts; here: built into greenhouse's device.",
        dependencies={
            "aws.greengrass.Nucleus": {
                "VersionRequirement": ">=2.1.0 <3.0.0",
                "DependencyType": "SOFT",
            }
        },
    ),
)
