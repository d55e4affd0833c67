"""Picks a few real rows as samples: a bad, a middling and a good wine of each colour."""

from __future__ import annotations

import json

import pandas as pd

from .data import SHA256, TARGET


def choose(table: pd.DataFrame) -> list[dict[str, float]]:
    chosen = []
    for color in SHA256:
        wines = table[table[f"color_{color}"] == 1].sort_values(TARGET, kind="stable")
        chosen.append(wines.iloc[[0, len(wines) // 2, -1]])
    rows = pd.concat(chosen).drop(columns=TARGET)
    records: list[dict[str, float]] = json.loads(
        rows.to_json(orient="records", double_precision=15)
    )
    return records


def as_text(records: list[dict[str, float]]) -> str:
    return "[\n" + ",\n".join(f"  {json.dumps(record)}" for record in records) + "\n]\n"
