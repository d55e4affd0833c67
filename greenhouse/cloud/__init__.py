"""The cloud half of Greengrass on one machine: boto3's `greengrassv2` client works against it.

It stands beside MiniStack, which has S3, ECR, IAM, STS and AWS IoT but no Greengrass. botocore's
own service model checks shapes (`model`). The modules `components`, `deployments` and `devices`
hold what the operations do, each behaviour with its source. `cloudcontrol` serves the Cloud Control
API for the two Greengrass types, with CloudFormation's `handlers` behind it.

    python -m greenhouse.cloud --port 4600 --store cloud.sqlite

Differences from AWS, on purpose:

* The environment's own AWS key may do everything, and any other key nothing. No IAM policy is
  checked. There is one account and one region, on loopback only.
* A component version is DEPLOYABLE as soon as it is created (AWS takes seconds).
* Devices use two calls of our own (`server`) where AWS has shadows, jobs and MQTT.
  ResolveComponentCandidates needs no device certificate.
* No AWS IoT job exists behind a group deployment's iotJobId. maximumPerMinute, abort criteria and
  the in-progress time-out are modelled. An exponential rate is refused.
* MiniStack knows the members of a group. Nested and dynamic groups don't exist.
* Three AWS-provided components exist (`public`), without artifacts: greenhouse's device does their
  work itself.
* Lambda functions, subdeployments, client devices, connectivity information, the service role and
  greengrass: artifacts are refused with an error that names them.
* There are no quotas. Throttling is a fault that a test sets. If the text of an AWS error isn't
  known, ours says what was found.
"""
