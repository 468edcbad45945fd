"""Writes `house_data.csv`: 200 synthetic, plausible house sales, the same bytes for the same seed on every machine.

python model/data/generate.py
"""

from __future__ import annotations

import random
from pathlib import Path

SEED = 20
ROWS = 200
HEADER = "bedrooms,bathrooms,sqft,year_built,price"


def house_data(seed: int = SEED, rows: int = ROWS) -> str:
    """The CSV's text: `rows` houses, prices in whole hundreds of US dollars."""
    chance = random.Random(seed)  # noqa: S311 - sample data, not a secret
    return "\n".join([HEADER, *(",".join(map(str, house(chance))) for _ in range(rows))]) + "\n"


def house(chance: random.Random) -> tuple[int, float, int, int, int]:
    """Bigger houses have more rooms; price follows size, rooms and age, with a tenth of it left to taste and location."""
    bedrooms = chance.choices((1, 2, 3, 4, 5, 6), weights=(4, 16, 38, 28, 11, 3))[0]
    bathrooms = max(1, round(2 * chance.gauss(0.62 * bedrooms + 0.2, 0.45))) / 2
    sqft = round(max(450, chance.gauss(520 * bedrooms + 250, 330)), -1)
    year_built = min(2024, max(1900, round(chance.gauss(1984, 22))))
    fair = 60_000 + 165 * sqft + 9_000 * bedrooms + 16_000 * bathrooms + 950 * (year_built - 1950)
    price = max(50_000, round(fair + chance.gauss(0, 0.1 * fair), -2))
    return bedrooms, bathrooms, int(sqft), year_built, int(price)


if __name__ == "__main__":
    Path(__file__).with_name("house_data.csv").write_bytes(house_data().encode())
