"""Pulumi providers for packages whose plugin can't be had without GitHub's downloads.

The engine attaches to them by PULUMI_DEBUG_PROVIDERS. Each resource does what the real plugin does,
against MiniStack, the Docker engine and greenhouse's own greengrassv2; what it can't do it refuses
by name, since a stand-in that guesses is worse than none.
"""
