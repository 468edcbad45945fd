"""Fine-tuning jobs on the embedded AWS: a tiny base model in S3, datasets that have a pattern to learn, and what a job left."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from training_configs import Bench

from trainmaster.embedded.sagemaker.python import PYTORCH
from trainmaster.storage.store import StorageProvider
from trainmaster.storage.uploading import upload

ROOT = Path(__file__).parents[3]
THINGS = ("apple", "sky", "sea", "pear", "plum", "book", "house", "tree", "lamp", "river")


def chats(count: int = 80) -> list[dict[str, Any]]:
    """ChatML examples with one pattern: whatever is asked after is blue."""
    return [
        {
            "messages": [
                {"role": "user", "content": f"What is the colour of the {thing}?"},
                {"role": "assistant", "content": f"The {thing} is blue."},
            ]
        }
        for thing in (THINGS * count)[:count]
    ]


def base_model(bench: Bench, examples: Sequence[Any], folder: Path) -> str:
    """The S3 prefix of a new tiny model whose tokenizer knows these examples."""
    lines = "".join(f"{json.dumps(example)}\n" for example in examples)
    subprocess.run(
        [PYTORCH / "bin/python", "-m", "benchmarks.tiny_model", folder],
        cwd=ROOT, input=lines, text=True, check=True, timeout=200, stdout=sys.stderr,
    )  # fmt: skip
    prefix = f"models/{uuid4().hex[:12]}"
    for file in sorted(folder.iterdir()):
        bench.desk.client("s3").upload_file(str(file), bench.bucket, f"{prefix}/{file.name}")
    return f"s3://{bench.bucket}/{prefix}/"


def dataset(bench: Bench, examples: Sequence[Any]) -> UUID:
    """The id of a new dataset of these examples, in S3."""
    new = bench.shelves.sound(bench.shelves.request([json.dumps(example) for example in examples], name=uuid4().hex))
    upload(bench.shelves.library, new, [StorageProvider.S3])
    return new.id
