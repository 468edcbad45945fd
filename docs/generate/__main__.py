"""`make reference`: write every page of docs/reference anew."""

from __future__ import annotations

import sys
from pathlib import Path

from docs.generate import commands, errors, events, flows, http_api, hyperparameters, settings

FOLDER = Path(__file__).parents[1] / "reference"
PAGES = {
    "flows.md": flows.reference,
    "settings.md": settings.reference,
    "cli.md": commands.reference,
    "http-api.md": http_api.reference,
    "events.md": events.reference,
    "errors.md": errors.reference,
    "hyperparameters.md": hyperparameters.reference,
}


def main() -> int:
    """Exit code 0; says which pages have changed."""
    for name, made in PAGES.items():
        file, text = FOLDER / name, made()
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            print(f"docs/reference/{name} is new.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
