"""Package `aws`, as far as a release of edge inference needs it."""

from __future__ import annotations

from importlib import metadata

from greenhouse.providers.aws import ecr, iam, s3, sts
from greenhouse.providers.aws_clients import AwsClients
from greenhouse.providers.protocol.servicer import Package


def package(clients: AwsClients) -> Package:
    """The resources and functions of package `aws` in this account."""
    resources = [kind(clients) for kind in (*s3.RESOURCES, *ecr.RESOURCES, *iam.RESOURCES)]
    functions = [kind(clients) for kind in (*sts.FUNCTIONS, *ecr.FUNCTIONS)]
    return Package(
        name="aws",
        version=metadata.version("pulumi-aws"),
        resources={resource.kind: resource for resource in resources},
        functions={function.kind: function for function in functions},
        # The SDK adds two settings to an explicit provider, which are ignored here. A region is
        # checked when it is used, and the account checks the key with every call.
        config=frozenset({"region", "skipCredentialsValidation", "skipRegionValidation"}),
    )
