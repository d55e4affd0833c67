"""The account, the region and the partition of the caller."""

from __future__ import annotations

from greenhouse.providers.aws.common import AwsFunction
from greenhouse.providers.protocol.resource import Refused
from greenhouse.providers.protocol.session import Call
from greenhouse.providers.protocol.wire import Properties


class GetCallerIdentity(AwsFunction):
    """The account."""

    kind = "aws:index/getCallerIdentity:getCallerIdentity"

    def call(self, call: Call, arguments: Properties) -> Properties:
        found = self.clients.sts(self.clients.region(call, arguments)).get_caller_identity()
        return {
            "accountId": found["Account"],
            "arn": found["Arn"],
            "id": found["Account"],
            "userId": found["UserId"],
        }


class GetRegion(AwsFunction):
    """The region that the provider is set to."""

    kind = "aws:index/getRegion:getRegion"
    arguments = frozenset({"region"})

    def call(self, call: Call, arguments: Properties) -> Properties:
        region = self.clients.region(call, arguments)
        names = self.clients.regions()
        if region not in names:
            raise Refused(f"there is no region '{region}'. There are: {', '.join(names)}")
        return {
            "description": region,
            "endpoint": f"ec2.{region}.amazonaws.com",
            "id": region,
            "name": region,
            "region": region,
        }


class GetPartition(AwsFunction):
    """AWS itself, neither China nor GovCloud."""

    kind = "aws:index/getPartition:getPartition"

    def call(self, call: Call, arguments: Properties) -> Properties:  # noqa: ARG002
        return {
            "dnsSuffix": "amazonaws.com",
            "id": "aws",
            "partition": "aws",
            "reverseDnsPrefix": "com.amazonaws",
        }


FUNCTIONS = (GetCallerIdentity, GetRegion, GetPartition)
