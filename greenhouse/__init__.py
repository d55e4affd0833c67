"""Greengrass on one machine, in place of account and device; never imported by infra or edge."""
