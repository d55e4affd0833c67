"""Whether everything of this program works in the same account."""

from __future__ import annotations

from botocore.exceptions import BotoCoreError, ClientError

from infra.context import Context
from infra.settings import Misconfigured


def check_account(context: Context) -> None:
    """Misconfigured where boto3 would ask another account than Pulumi's providers work in.

    A provider may take a role by its own config, of which boto3 doesn't know.
    """
    try:
        account = context.clients.sts.get_caller_identity()["Account"]
    except (BotoCoreError, ClientError) as error:
        raise Misconfigured(f"AWS doesn't tell who asks it in {context.region}: {error}") from error
    if account != context.account:
        raise Misconfigured(
            f"Pulumi's providers work in account {context.account}, but what asks the devices has"
            f" credentials of account {account}. A role in the providers' config (aws:assumeRoles)"
            " is known to them alone: name it in a profile (role_arn, source_profile), then pulumi"
            " config set aws:profile NAME; pulumi config set aws-native:profile NAME"
        )
