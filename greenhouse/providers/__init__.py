"""Pulumi providers for packages whose plugin can only be downloaded from GitHub.

The engine attaches to them by PULUMI_DEBUG_PROVIDERS. Each resource does what the real plugin does,
against MiniStack, the Docker engine and greenhouse's own greengrassv2. What a provider can't do it
refuses by name, because a stand-in that guesses is worse than none.
"""
