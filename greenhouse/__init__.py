"""An AWS account and Greengrass devices on one machine.

Neither infra nor edge imports this package.
"""
