"""Nucleus Lite: its flavour, its systemd units and its side of IPC."""
