"""A component that reports its state over IPC: `update_state.py RUNNING`."""

from __future__ import annotations

import sys

from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2

client = GreengrassCoreIPCClientV2()
print("UPD", sys.argv[1], client.update_state(state=sys.argv[1]), flush=True)
client.close()
