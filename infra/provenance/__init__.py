"""Finds what is in a release's image: files, packages and licences."""
