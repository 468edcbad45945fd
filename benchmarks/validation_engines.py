"""One engine over one file, in this process: `python validation_engines.py ENGINE FILE OUTPUT`. Prints what it took as JSON.

It runs in the environment of whichever engine it is, and imports nothing else.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path


def stdlib(source: Path, output: Path) -> int:
    """What a careful program of the standard library's does: every line parsed and checked, counted, compared and written again."""
    import gzip  # noqa: PLC0415
    import hashlib  # noqa: PLC0415
    from collections import Counter  # noqa: PLC0415

    known = {"system", "developer", "user", "assistant", "tool", "function"}
    problems: list[str] = []
    roles: Counter[str] = Counter()
    lengths: list[tuple[int, int]] = []
    seen: set[bytes] = set()
    duplicates = 0
    with source.open("rb") as packed:
        hashlib.file_digest(packed, "sha256")
    with gzip.open(source, "rb") as lines, gzip.GzipFile(output, "wb", compresslevel=6, mtime=0) as written:
        for number, line in enumerate(lines, 1):
            try:
                example = json.loads(line)
            except ValueError as error:
                problems.append(f"line {number}: {error}")
                continue
            asked = answered = 0
            last = None
            for at, message in enumerate(example["messages"]):
                role, content = message.get("role"), message.get("content")
                if role not in known:
                    problems.append(f"line {number}, messages[{at}].role: {role!r}")
                elif role == last or (role == "system" and at):
                    problems.append(f"line {number}, messages[{at}].role: {role!r} after {last!r}")
                if not isinstance(content, str) or not content.strip():
                    problems.append(f"line {number}, messages[{at}].content: {content!r}")
                elif role == "assistant":
                    answered += len(content)
                else:
                    asked += len(content)
                roles[str(role)] += 1
                last = role
            if last != "assistant":
                problems.append(f"line {number}: the last turn is not the assistant's")
            lengths.append((asked, answered))
            text = json.dumps(example, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            digest = hashlib.blake2b(text, digest_size=16).digest()
            duplicates += digest in seen
            seen.add(digest)
            written.write(text)
    lengths.sort()
    with output.open("rb") as packed:
        hashlib.file_digest(packed, "sha256")
    return len(lengths) if not problems else -len(problems)


def trainmaster(source: Path, output: Path) -> int:
    from trainmaster.datasets.checking import check_dataset  # noqa: PLC0415

    report = check_dataset(source, normalised=output)
    return report.examples if report.ok else -report.bad_examples


def trainmaster_check(source: Path, output: Path) -> int:  # noqa: ARG001
    from trainmaster.datasets.checking import check_dataset  # noqa: PLC0415

    report = check_dataset(source)
    return report.examples if report.ok else -report.bad_examples


def hugging_face(source: Path, output: Path) -> int:
    from datasets import load_dataset  # noqa: PLC0415

    return len(load_dataset("json", data_files=str(source), split="train", cache_dir=str(output)))


def together(source: Path, output: Path) -> int:  # noqa: ARG001
    from together.lib.utils.files import check_file  # noqa: PLC0415

    report = check_file(source, purpose="fine-tune")
    if not report["is_check_passed"]:
        sys.exit(f"together refuses the file: {report}")
    return int(report["num_samples"])


ENGINES: dict[str, Callable[[Path, Path], int]] = {
    "stdlib": stdlib,
    "trainmaster": trainmaster,
    "trainmaster, check only": trainmaster_check,
    "datasets": hugging_face,
    "together": together,
}


def main() -> None:
    engine, source, output = sys.argv[1:]
    began, cpu = time.perf_counter(), time.process_time()
    examples = ENGINES[engine](Path(source), Path(output))
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"examples": examples, "wall": wall, "cpu": cpu, "peak": peak}))


if __name__ == "__main__":
    main()
