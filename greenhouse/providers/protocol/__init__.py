"""Pulumi's provider protocol, for any package."""
