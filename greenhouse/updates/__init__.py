"""Runs Pulumi's updates of stack `local`, shows them, and ends what a killed update leaves."""
