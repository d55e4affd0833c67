"""The recipe linter: rules for recipes that both runtimes run.

It knows nothing of this program.
"""
