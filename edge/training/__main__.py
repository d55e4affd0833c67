"""Train again: python -m edge.training --data FOLDER."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import card, data, model, plots, samples

EDGE = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m edge.training", description=__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="has winequality-red.csv and winequality-white.csv: https://doi.org/10.24432/C56S3T",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=EDGE,
        metavar="FOLDER",
        help="gets models/wine-quality.json, its card and picture, and consumer/samples.json"
        " (default: %(default)s)",
    )
    options = parser.parse_args()
    try:
        table = data.load(options.data)
    except data.TableRefused as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    ours, mean, predicted = model.cross_validate(table)
    booster = model.train(table)
    trained = model.save(booster)
    files = {
        "models/wine-quality.json": trained,
        "models/wine-quality.md": card.write(table, trained, ours, mean).encode(),
        "models/wine-quality.svg": plots.draw(table, booster, predicted),
        "consumer/samples.json": samples.as_text(samples.choose(table)).encode(),
    }
    for name, content in files.items():
        path = options.output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        sys.stdout.write(f"{path}  {len(content):,} bytes\n")
    sys.stdout.write(
        f"RMSE {ours.rmse:.3f} ± {ours.rmse_deviation:.3f}, MAE {ours.mae:.3f}"
        f" (always the mean: {mean.rmse:.3f}, {mean.mae:.3f})\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
