"""Greengrass on one machine, in place of the account and the device; infra and edge never import it."""
