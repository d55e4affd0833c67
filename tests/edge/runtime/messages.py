"""Messages that a test sends to the runtime."""

from __future__ import annotations

from greenhouse.device.ipc.frames import MAX_FRAME

# a binary message is in base64, with the topic and headers around it
LARGEST = bytes((MAX_FRAME - 500) // 4 * 3)
