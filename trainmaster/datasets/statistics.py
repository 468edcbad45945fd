"""How long examples are, who speaks in them, and which stand out: counted as they stream by, in bounded memory."""

from __future__ import annotations

import math
import operator
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, cast

from trainmaster.datasets.formats import Canonical
from trainmaster.datasets.quality import Defects, assess
from trainmaster.datasets.report import DatasetStatistics, Distribution
from trainmaster.datasets.tokens import CHARACTERS_PER_TOKEN, TokenCounter

MOST_DISTINCT = 16_384
"""Different lengths counted one by one (about 1 MB); with more, neighbours above 256 are counted together."""
MOST_BINS = 40
LOGARITHMIC_FROM = 8
"""Times as long as the shortest must the longest be for bins that grow."""
MOST_EXTREMES = 10
MOST_SEQUENCES, LONGEST_SEQUENCE, SHOWN_SEQUENCES = 512, 64, 20
OTHER = "other"
SHORT_OUTPUT = 10
"""Characters; a shorter output is a label or a single word."""

_FOLDED_BITS = 8
_Columns = tuple[tuple[dict[str, Any], ...], tuple[int, ...], tuple[int, ...], tuple[tuple[str, ...], ...], Any]


class Lengths:
    """Lengths of any number of examples. Count, mean, lowest and highest are exact; percentiles are those of nearest rank,
    exact below 256 and for up to 16,384 different lengths, otherwise within half a per cent."""

    def __init__(self) -> None:
        self._alone: Counter[int] = Counter()
        self._together: Counter[int] = Counter()
        self._count = self._total = 0  # of those counted together
        self._ends: tuple[int, ...] = ()

    def add(self, values: Iterable[int]) -> None:
        self._alone.update(values)
        if len(self._alone) > MOST_DISTINCT:
            self._fold()

    @property
    def count(self) -> int:
        return self._count + sum(self._alone.values())

    @property
    def total(self) -> int:
        return self._total + sum(value * count for value, count in self._alone.items())

    @property
    def mean(self) -> float:
        """0 when there are none, as are the lowest and the highest."""
        return self.total / max(self.count, 1)

    @property
    def low(self) -> int:
        return min((*self._alone, *self._ends), default=0)

    @property
    def high(self) -> int:
        return max((*self._alone, *self._ends), default=0)

    def percentile(self, percent: float) -> int:
        """0 when there are none."""
        rank, seen = math.ceil(percent / 100 * self.count), 0
        low, high = self.low, self.high
        for value, count in self._buckets():
            seen += count
            if seen >= rank:
                return min(max(self._middle(value), low), high)
        return 0

    def below(self, bound: float) -> int:
        """How many are shorter."""
        return sum(count for value, count in self._buckets() if value < bound)

    def above(self, bound: float) -> int:
        """How many are longer."""
        return sum(count for value, count in self._buckets() if value > bound)

    def counted_as(self, value: int) -> int:
        """The length by which `below` and `above` judge one of `value`: its own, or the shortest it is counted with."""
        return _bucket(value) if self._together else value

    @property
    def uncertainty(self) -> float:
        """By what share of itself a percentile can be off, at most."""
        return 0.01 if self._together else 0.0

    def distribution(self) -> Distribution:
        p5, p25, p50, p75, p95, p99 = map(self.percentile, (5, 25, 50, 75, 95, 99))
        return Distribution(
            self.count, self.mean, self.low, p5, p25, p50, p75, p95, p99, self.high, histogram=tuple(self._bins())
        )

    def _fold(self) -> None:
        """Count together what was counted alone."""
        self._ends = self.low, self.high
        for value, count in self._alone.items():
            self._count += count
            self._total += value * count
            self._together[_bucket(value)] += count
        self._alone.clear()

    def _buckets(self) -> list[tuple[int, int]]:
        if self._together and self._alone:
            self._fold()
        return sorted((self._together or self._alone).items())

    def _middle(self, start: int) -> int:
        width = 1 << max(start.bit_length() - _FOLDED_BITS, 0) if self._together else 1
        return start + width // 2

    def _bins(self) -> Iterator[tuple[int, int, int]]:
        edges = [*self._edges(), self.high + 1]
        counts: Counter[int] = Counter()
        for value, count in self._buckets():
            counts[bisect_right(edges, value) - 1] += count
        yield from ((start, end, counts[at]) for at, (start, end) in enumerate(pairwise(edges)))

    def _edges(self) -> list[int]:
        """Where bins start: equally far apart, or each by the same factor when lengths are far apart; never within a bucket."""
        if not self.count:
            return []
        low, high = self.low, self.high
        if high <= LOGARITHMIC_FROM * max(low, 1) or high - low < MOST_BINS:
            edges = set(range(low, high + 1, -(-(high + 1 - low) // MOST_BINS)))
        else:
            first, bins = max(low, 1), MOST_BINS if low else MOST_BINS - 1
            factor = (high / first) ** (1 / bins)
            edges = {low, *(round(first * factor**step) for step in range(bins))}
        return sorted(set(map(self.counted_as, edges)))


def _bucket(value: int) -> int:
    """The shortest length counted together with `value`: they share their first eight binary digits, as in an HDR histogram
    (hdrhistogram.org), and so are less than 1 % apart."""
    shift = max(value.bit_length() - _FOLDED_BITS, 0)
    return value >> shift << shift


class _Sequences:
    """Which roles speak in which order. The commonest hundreds are kept; one that was let go starts from nothing again."""

    def __init__(self) -> None:
        self._kept: Counter[tuple[str, ...]] = Counter()
        self._let_go = 0
        self._turns_let_go: Counter[str] = Counter()

    def add(self, sequences: Iterable[tuple[str, ...]]) -> None:
        for roles, count in Counter(sequences).items():
            if not roles:
                continue
            if len(roles) <= LONGEST_SEQUENCE:
                self._kept[roles] += count
            else:
                self._let_go_of(roles, count)
        if len(self._kept) > MOST_SEQUENCES:
            commonest = self._kept.most_common()
            self._kept = Counter(dict(commonest[: MOST_SEQUENCES // 2]))
            for roles, count in commonest[MOST_SEQUENCES // 2 :]:
                self._let_go_of(roles, count)

    def roles(self) -> dict[str, int]:
        """Turns of each role, the commonest first."""
        turns = self._turns_let_go.copy()
        for roles, count in self._kept.items():
            _count_turns(turns, roles, count)
        return dict(turns.most_common())

    def commonest(self) -> dict[str, int]:
        """The twenty commonest by name, the rest as "other"."""
        ranked = sorted(self._kept.items(), key=lambda item: (-item[1], item[0]))
        named = {", ".join(roles): count for roles, count in ranked[:SHOWN_SEQUENCES]}
        other = self._let_go + sum(count for _, count in ranked[SHOWN_SEQUENCES:])
        return {**named, OTHER: other} if other else named

    def _let_go_of(self, roles: tuple[str, ...], count: int) -> None:
        self._let_go += count
        _count_turns(self._turns_let_go, roles, count)


def _count_turns(turns: Counter[str], roles: Sequence[str], count: int) -> None:
    for role, times in Counter(roles).items():
        turns[role] += times * count


class Tally:
    """The statistics of a dataset, added up block by block: 0.3 µs for an example, some megabytes whatever their number."""

    def __init__(self, tokenizer: TokenCounter | None = None) -> None:
        self._tokenizer = tokenizer
        self._tokens = 0
        self._input, self._output, self._both = Lengths(), Lengths(), Lengths()
        self._sequences = _Sequences()
        self._longest: list[tuple[int, int]] = []
        self._shortest: list[tuple[int, int]] = []

    def add(self, canonicals: Sequence[Canonical], numbers: Sequence[int]) -> None:
        """Count sound examples, which stand at `numbers` of the file: as many, never descending. `more` is not looked at:
        what an example became besides is to be given too, under the same number."""
        if not canonicals:
            return
        examples, inputs, outputs, roles, _ = cast("_Columns", zip(*canonicals, strict=True))
        both = list(map(operator.add, inputs, outputs))
        self._input.add(inputs)
        self._output.add(outputs)
        self._both.add(both)
        self._sequences.add(roles)
        self._note_extremes(both, numbers)
        if self._tokenizer:
            self._tokens += self._tokenizer.count(examples)

    def result(
        self, *, duplicates: int = 0, duplicate_pairs: Sequence[tuple[int, int]] = (), bad_examples: int = 0
    ) -> DatasetStatistics:
        """What was counted so far. `duplicate_pairs` are (number of the duplicate, number of the first of its kind)."""
        both = self._both
        low, high = self._fences()
        long, short = both.above(high), both.below(low)
        defects = Defects(
            total=both.count + bad_examples,
            malformed=bad_examples,
            duplicates=duplicates,
            outliers=long + short,
            short_outputs=self._output.below(SHORT_OUTPUT) - self._output.below(1),
        )
        return DatasetStatistics(
            total_examples=both.count,
            avg_input_length=self._input.mean,
            avg_output_length=self._output.mean,
            input_length=self._input.distribution(),
            output_length=self._output.distribution(),
            estimated_tokens=round(both.total / CHARACTERS_PER_TOKEN),
            exact_tokens=self._tokens if self._tokenizer else None,
            tokenizer=self._tokenizer.name if self._tokenizer else None,
            roles=self._sequences.roles(),
            turns=self._sequences.commonest(),
            duplicates=duplicates,
            duplicate_pairs=tuple(duplicate_pairs),
            long_outliers=long,
            short_outliers=short,
            longest=tuple((number, length) for length, number in self._longest if both.counted_as(length) > high),
            shortest=tuple((number, length) for length, number in self._shortest if both.counted_as(length) < low),
            quality=assess(defects),
        )

    def _fences(self) -> tuple[float, float]:
        """Between which a total length is no outlier (Tukey's), farther apart by as much as the quartiles can be off."""
        q1, q3 = self._both.percentile(25), self._both.percentile(75)
        reach = 1.5 * (q3 - q1)
        return q1 - reach - self._both.uncertainty * q1, q3 + reach + self._both.uncertainty * q3

    def _note_extremes(self, lengths: Sequence[int], numbers: Sequence[int]) -> None:
        longest, shortest = self._longest, self._shortest
        bar = longest[-1][0] if len(longest) == MOST_EXTREMES else -1
        if max(lengths) > bar:
            longer = [pair for pair in zip(lengths, numbers, strict=True) if pair[0] > bar]
            self._longest = sorted(longest + longer, key=lambda pair: (-pair[0], pair[1]))[:MOST_EXTREMES]
        if len(shortest) < MOST_EXTREMES or min(lengths) < shortest[-1][0]:
            bar = shortest[-1][0] if len(shortest) == MOST_EXTREMES else max(lengths) + 1
            shorter = [pair for pair in zip(lengths, numbers, strict=True) if pair[0] < bar]
            self._shortest = sorted(shortest + shorter)[:MOST_EXTREMES]
