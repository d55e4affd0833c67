"""What runs on the device: a model answering on a Greengrass IPC topic.

It needs the standard library, awsiotsdk and one small C library. `forest` and `protocol` need
neither of the latter two, so the cloud half reads a model with the device's own reader.
"""
