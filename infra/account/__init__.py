"""Reads of the AWS account."""
