"""Pulumi's updates of stack `local`: how they run, what a person sees, what a killed one leaves."""
