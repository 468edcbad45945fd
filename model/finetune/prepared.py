"""Examples as a method's trainer takes them, written to disk once by one process of each host: memory holds none but those at hand."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, List, Value
from datasets.arrow_writer import ArrowWriter
from transformers import PreTrainedTokenizerBase

from model.finetune.examples import Completion, Conversation, Example, Judged, MisfitError, Pair, Text, examples_of
from model.finetune.hyperparameters import Hyperparameters
from model.finetune.problems import BadInputError
from model.finetune.rendering import Rendered, Template
from model.finetune.rows import BadRows, Row, RowError, rows_of
from model.finetune.tokens import Tokens, first_of, last_of, pieces, shortened, tokens_of

AT_ONCE = 256
"""Examples that are tokenised together."""
FIRST_ROWS = 200
TOLD_EVERY = 30.0  # seconds
ROW = "row"
"""The column that says which row of the data an example is of."""
_TOKENS = Features({"input_ids": List(Value("int32")), "assistant_masks": List(Value("int8")), ROW: Value("int64")})
_PAIRS = Features({name: Value("large_string") for name in ("prompt", "chosen", "rejected")} | {ROW: Value("int64")})
_JUDGED = Features(
    {"prompt": Value("large_string"), "completion": Value("large_string"), "label": Value("bool"), ROW: Value("int64")}
)
FEATURES = {"sft": _TOKENS, "cpt": _TOKENS, "dpo": _PAIRS, "orpo": _PAIRS, "kto": _JUDGED}
_ENDS = 2
"""Tokens that the trainers of preferences may add: one at the beginning, one at the end."""


@dataclass
class Statistics:
    """Of one role's examples; lengths are in tokens, of preferences prompt and longest answer together."""

    rows: int = 0
    examples: int = 0
    tokens: int = 0
    learned: int = 0
    longer: int = 0
    """Examples that are longer than max_length."""
    left_out: int = 0
    """Of those, the ones that are not trained on."""
    lengths: dict[int, int] = field(default_factory=dict)

    def add(self, length: int, learned: int) -> None:
        self.examples, self.tokens, self.learned = self.examples + 1, self.tokens + length, self.learned + learned
        self.lengths[length] = self.lengths.get(length, 0) + 1

    def percentile(self, share: float) -> int:
        """Of nearest rank."""
        seen, wanted = 0, share * self.examples
        for length in sorted(self.lengths):
            seen += self.lengths[length]
            if seen >= wanted:
                return length
        return 0

    def sentence(self, role: str, asked: Hyperparameters) -> str:
        lengths = (
            f"median {self.percentile(0.5):,}, 95% {self.percentile(0.95):,}, longest {max(self.lengths, default=0):,}"
        )
        said = f"{role}: {self.rows:,} rows, {self.examples:,} examples, {self.tokens:,} tokens"
        if asked.training_method in ("sft", "cpt"):
            said += f", {self.learned:,} of them learned"
        said += f"; tokens of an example: {lengths}."
        if self.longer:
            what = f"{self.left_out:,} of them are left out" if self.left_out else "they are cut"
            if asked.training_method == "cpt":
                what = "they are split"
            said += f" {self.longer:,} are longer than max_length {asked.max_length:,}: {what}."
        return said


@dataclass(frozen=True)
class Prepared:
    """The examples of one role, mapped from disk; its first rows as they were."""

    examples: Dataset
    statistics: Statistics
    first_rows: list[dict[str, Any]]


def prepared(
    role: str, channels: Mapping[str, Path], asked: Hyperparameters, tokenizer: PreTrainedTokenizerBase, folder: Path
) -> Prepared:
    """Written below the folder by whichever process of this host comes first; the others wait for it, as long as it lives. Raises
    BadInputError that lists all that cannot be trained on."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{role}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / role / "statistics.json").exists():
            being = folder / f"{role}.being-made"
            shutil.rmtree(being, ignore_errors=True)
            being.mkdir()
            _write(being, role, channels, asked, tokenizer)
            shutil.rmtree(folder / role, ignore_errors=True)
            being.rename(folder / role)
    said = json.loads((folder / role / "statistics.json").read_text(encoding="utf-8"))
    lengths = {int(length): count for length, count in said.pop("lengths").items()}
    first_rows = json.loads((folder / role / "first-rows.json").read_text(encoding="utf-8"))
    return Prepared(
        Dataset.from_file(str(folder / role / "examples.arrow")), Statistics(**said, lengths=lengths), first_rows
    )


def _write(
    folder: Path, role: str, channels: Mapping[str, Path], asked: Hyperparameters, tokenizer: PreTrainedTokenizerBase
) -> None:
    bad, statistics, first_rows = BadRows(), Statistics(), list[dict[str, Any]]()
    making = _Making(asked, tokenizer, bad, statistics)
    rows = _told(_numbered(channels, bad, statistics, first_rows), role)
    examples = making.examples(rows)
    with ArrowWriter(
        features=FEATURES[asked.training_method], path=str(folder / "examples.arrow"), writer_batch_size=AT_ONCE
    ) as writer:
        while batch := list(islice(examples, AT_ONCE)):
            for made in making.made(batch):
                writer.write(made)
        writer.finalize()
    bad.refuse()
    if not statistics.examples:
        raise BadInputError(_nothing(role, statistics, asked))
    (folder / "first-rows.json").write_text(json.dumps(first_rows), encoding="utf-8")
    (folder / "statistics.json").write_text(json.dumps(asdict(statistics)), encoding="utf-8")


def _nothing(role: str, statistics: Statistics, asked: Hyperparameters) -> str:
    if not statistics.rows:
        return f"There is no data for {role}: its files have no rows."
    return (
        f"None of the {statistics.rows:,} rows for {role} can be trained on within max_length {asked.max_length:,}:"
        f" {statistics.left_out:,} examples are longer. Raise max_length."
    )


def _numbered(
    channels: Mapping[str, Path], bad: BadRows, statistics: Statistics, first_rows: list[dict[str, Any]]
) -> Iterator[Row]:
    for channel, folder in channels.items():
        for row in rows_of(channel, folder, bad):
            statistics.rows += 1
            if len(first_rows) < FIRST_ROWS and isinstance(row.value, dict):
                first_rows.append(row.value)
            yield row


def _told(rows: Iterable[Row], role: str) -> Iterator[Row]:
    """Says now and then how far it is, for hours may go by with large data."""
    last = time.monotonic()
    for number, row in enumerate(rows, 1):
        if time.monotonic() - last > TOLD_EVERY:
            last = time.monotonic()
            print(f"Preparing {role}: {number:,} rows, at {row.where}.", flush=True)
        yield row


class _Making:
    """From rows to what the trainers take."""

    def __init__(
        self, asked: Hyperparameters, tokenizer: PreTrainedTokenizerBase, bad: BadRows, statistics: Statistics
    ) -> None:
        self._asked, self._tokenizer, self._bad, self._statistics = asked, tokenizer, bad, statistics
        self._template = Template(tokenizer)

    def examples(self, rows: Iterable[Row]) -> Iterator[tuple[int, Row, Example, Rendered | None]]:
        """Each with the number of its row, rendered where tokens are made of it."""
        for number, row in enumerate(rows):
            try:
                for example in examples_of(row.value, self._asked):
                    yield number, row, example, self._rendered(example)
            except MisfitError as error:
                self._bad.add_misfit(row, error.format, str(error))
            except RowError as error:
                self._bad.add(row.where, str(error))

    def made(self, batch: list[tuple[int, Row, Example, Rendered | None]]) -> Iterator[dict[str, Any]]:
        rendered = [each for *_, each in batch if each is not None]
        tokens = iter(self._tokens(rendered))
        for number, row, example, text in batch:
            try:
                if isinstance(example, Pair | Judged):
                    yield from self._preference(number, example)
                elif text is not None:
                    yield from self._sequence(number, next(tokens))
            except RowError as error:
                self._bad.add(row.where, str(error))

    def _rendered(self, example: Example) -> Rendered | None:
        end = self._tokenizer.eos_token or ""
        if isinstance(example, Conversation):
            return self._template.conversation(example)
        if isinstance(example, Completion):
            asked_for = f"{self._begin()}{example.prompt}"
            whole = f"{asked_for}{example.completion}{end}"
            first = len(asked_for) if self._asked.completion_only_loss else 0
            return Rendered(whole, ((first, len(whole)),))
        if isinstance(example, Text):
            text = f"{self._begin()}{example.text}{end if not example.text.endswith(end) else ''}"
            return Rendered(text, ((0, len(text)),))
        return None

    def _begin(self) -> str:
        """What the tokenizer puts at the beginning of plain text."""
        tokenizer = self._tokenizer
        ids = tokenizer("", verbose=False)["input_ids"]
        return (
            str(tokenizer.bos_token) if tokenizer.bos_token_id is not None and tokenizer.bos_token_id in ids[:1] else ""
        )

    def _tokens(self, rendered: list[Rendered]) -> list[Tokens | str]:
        """Of each; where the tokenizer does not do for one, why."""
        if not rendered:
            return []
        try:
            return list(tokens_of(self._tokenizer, rendered))
        except RowError:
            found = list[Tokens | str]()
            for each in rendered:
                try:
                    found += tokens_of(self._tokenizer, [each])
                except RowError as error:
                    found.append(str(error))
            return found

    def _sequence(self, number: int, tokens: Tokens | str) -> Iterator[dict[str, Any]]:
        asked, most = self._asked, self._asked.max_length
        if isinstance(tokens, str):
            raise RowError(tokens)
        long = len(tokens.ids) > most
        self._statistics.longer += long
        if asked.training_method == "cpt":
            if len(tokens.ids) < 2:
                raise RowError("is a single token, of which nothing can be learned")
            for ids, all_learned in zip(pieces(tokens.ids, most), pieces(tokens.learned, most), strict=True):
                learned = [0, *all_learned[1:]]
                if any(learned):
                    self._statistics.add(len(ids), sum(learned))
                    yield {"input_ids": ids, "assistant_masks": learned, ROW: number}
            return
        if long and asked.long_examples == "refuse":
            raise RowError(f"has {len(tokens.ids):,} tokens, more than max_length {most:,}")
        ids, learned = tokens.ids[:most], tokens.learned[:most]
        if long and (asked.long_examples == "drop" or not any(learned)):
            self._statistics.left_out += 1
        elif not any(learned):
            raise RowError("has nothing to learn: what is to be learned has no tokens")
        else:
            self._statistics.add(len(ids), sum(learned))
            yield {"input_ids": ids, "assistant_masks": learned, ROW: number}

    def _preference(self, number: int, example: Pair | Judged) -> Iterator[dict[str, Any]]:
        names = ("chosen", "rejected") if isinstance(example, Pair) else ("completion",)
        given = [getattr(example, name) for name in names]
        if isinstance(example.prompt, str):
            prompt, answers = f"{self._begin()}{example.prompt}", given
        else:
            prompt, answers = self._template.answers(example.prompt, given, example.tools)
        if empty := [name for name, answer in zip(names, answers, strict=True) if not answer]:
            raise RowError(f"{empty[0]} has no text once the chat template has written it")
        if len(answers) == 2 and answers[0] == answers[1]:
            raise RowError("chosen and rejected are the same")
        counts = [
            len(ids)
            for ids in self._tokenizer([prompt, *answers], add_special_tokens=False, verbose=False)["input_ids"]
        ]
        length, most = counts[0] + max(counts[1:]) + _ENDS, self._asked.max_length
        if length > most:
            self._statistics.longer += 1
            if self._asked.long_examples == "refuse":
                raise RowError(f"has {length:,} tokens, more than max_length {most:,}")
            if self._asked.long_examples == "drop":
                self._statistics.left_out += 1
                return
            kept, kept_answer = shortened(counts[0], max(counts[1:]), most - _ENDS)
            prompt = last_of(self._tokenizer, prompt, kept)
            answers = [first_of(self._tokenizer, answer, kept_answer) for answer in answers]
            if len(answers) == 2 and answers[0] == answers[1]:
                self._statistics.left_out += 1  # what tells them apart was cut off
                return
        self._statistics.add(min(length, most), 0)
        made = {"prompt": prompt, **dict(zip(names, answers, strict=True)), ROW: number}
        yield made | ({"label": example.good} if isinstance(example, Judged) else {})


def scratch() -> Path:
    """Where a job keeps what it can make again: in a SageMaker container the volume that the job's size is of."""
    base = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - one container, one user
    return Path(base) / "fine-tuning"
