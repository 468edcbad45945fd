"""The AWS CLI as a function."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

ANSWERED_WITHIN = 120.0


class RefusedError(Exception):
    """Raised when the AWS CLI exits with an error; its text is what it wrote on stderr."""


class AwsCli:
    """`aws("s3", "ls")` is `aws s3 ls`; `training_job_name=n` is `--training-job-name n`, dicts and lists as JSON."""

    def __init__(self, program: Path, environment: dict[str, str], folder: Path) -> None:
        self._program, self._environment, self.folder = program, environment, folder

    def __call__(self, *words: str | Path, **options: Any) -> Any:
        """What it prints, parsed when it is JSON. Raises RefusedError. `folder` is where it reads and writes files."""
        command = [str(self._program), *map(str, words)]
        for name, value in options.items():
            text = json.dumps(value) if isinstance(value, (dict, list)) else str(value)
            command += [f"--{name.replace('_', '-')}", text]
        done = subprocess.run(
            command, env=self._environment, cwd=self.folder, capture_output=True, text=True, timeout=ANSWERED_WITHIN,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise RefusedError(done.stderr.strip())
        return json.loads(done.stdout) if done.stdout[:1] in ("{", "[") else done.stdout.strip()
