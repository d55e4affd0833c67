"""Finds what would fail on the devices before anything is made."""
