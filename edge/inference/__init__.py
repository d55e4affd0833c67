"""Runs on the device: answers requests to a model on a Greengrass IPC topic.

It needs the standard library, awsiotsdk and one small C library. infra/ also imports its modules
that don't need awsiotsdk.
"""
