"""The cloud half of Greengrass on one machine: boto3's `greengrassv2` client works against it.

It stands beside MiniStack, which has S3, ECR, IAM, STS and AWS IoT but no Greengrass. botocore's
own service model judges shapes (`model`); what the operations mean is in `components`,
`deployments` and `devices`, each behaviour with where it is known from. `cloudcontrol` serves the
Cloud Control API for the two Greengrass types, with CloudFormation's `handlers` behind it.

    python -m greenhouse.cloud --port 4600 --store cloud.sqlite

What differs from AWS, on purpose:

* Who signs with the environment's own AWS key may do everything, and nobody else anything: no IAM
  policy is asked. One account, one region, loopback only.
* A component version is DEPLOYABLE as soon as it is created (AWS takes seconds).
* Devices speak to it by two calls of our own (`server`) where AWS has shadows, jobs and MQTT, and
  ResolveComponentCandidates needs no device certificate.
* No AWS IoT job exists behind a group deployment's iotJobId. maximumPerMinute, abort criteria and
  the in-progress time-out are modelled; an exponential rate is refused.
* Group membership is what MiniStack says, without nested or dynamic groups.
* Three AWS-provided components exist (`public`), without artifacts: greenhouse's device has what
  they do.
* Lambda functions, subdeployments, client devices, connectivity information, the service role and
  greengrass: artifacts are refused with an error that names them.
* There are no quotas, and throttling is a fault that a test asks for. Where AWS' own text of an
  error isn't known, ours says what was found.
"""
