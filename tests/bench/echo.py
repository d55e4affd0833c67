"""Sends back every message, by the same SDK and in the service's own image.

It shows what an answer over IPC costs at least. It answers on the SDK's thread and does nothing
else, so no service can be leaner.
"""

import sys
import threading
from typing import Any

from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2
from awsiot.greengrasscoreipc.model import BinaryMessage, PublishMessage


def main(requests: str, answers: str) -> None:
    client = GreengrassCoreIPCClientV2(executor=None)

    def heard(event: Any) -> None:
        message = PublishMessage(binary_message=BinaryMessage(message=event.binary_message.message))
        client.publish_to_topic_async(topic=answers, publish_message=message)

    client.subscribe_to_topic(topic=requests, on_stream_event=heard)
    threading.Event().wait()


main(*sys.argv[1:])
