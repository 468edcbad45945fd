"""Where all datasets stand on their way from Supabase to S3, in words."""

from __future__ import annotations

from trainmaster.catalog.standings import Standings, Where
from trainmaster.migration.result import words
from trainmaster.migration.showing import Listing, Page, duration
from trainmaster.plain_words import counted, size

_PLACES: tuple[tuple[Where, str], ...] = (("supabase", "Supabase only"), ("both", "Both"), ("s3", "S3 only"))


def page_of(found: Standings) -> Page:
    """Counts by place, what is hindered, and who is at work on how many for how long yet."""
    facts = [
        (label, f"{counted(found.datasets.get(place, 0), 'dataset')}, {size(found.bytes.get(place, 0))}")
        for place, label in _PLACES
    ]
    facts.append(("Readers get S3", f"of {counted(found.promoted, 'dataset')}"))
    hindered = [f"{count:,} {words(kind)}" for kind, count in sorted(found.hindered.items())]
    facts.append(("Hindered", ", ".join(hindered) or "none"))
    held = [
        f"{one.holder}: {counted(one.objects, 'object')} since {one.since:%Y-%m-%d %H:%M:%S} UTC; its claims run out in"
        f" {duration(one.left.total_seconds())} unless renewed"
        for one in found.under_way
    ]
    return Page("Datasets between Supabase and S3", facts, [Listing("Under way", len(held), held)] if held else [])
