"""The command line for reviewers and operators: python -m fleet --help."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


@app.callback()
def main() -> None:
    """The commands ask AWS as the environment says; greenhouse sets that for itself."""


if __name__ == "__main__":
    app()
