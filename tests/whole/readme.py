"""The commands that README.md gives a reader to type."""

from __future__ import annotations

import re

from greenhouse.home import PROJECT_DIR


def lines(heading: str) -> list[str]:
    """The first block below a heading, without its comments."""
    text = (PROJECT_DIR / "README.md").read_text()
    [block] = re.findall(rf"^## {heading}\n.+?\n\n((?: {{4}}[^\n]+\n)+)", text, re.M | re.S)
    return [re.sub(r" +# .*", "", line).strip() for line in block.splitlines()]
