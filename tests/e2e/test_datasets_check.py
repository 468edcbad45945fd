"""`trainmaster datasets check`, as a user starts it: in a process of its own, on files, pipes and terminals."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

COMMAND = [sys.executable, "-m", "trainmaster.cli", "datasets", "check"]
WITHIN = 90.0
GOOD = b'{"messages": [{"role": "user", "content": "Hi %d"}, {"role": "assistant", "content": "Hello there %d"}]}\n'
BAD = b'{"messages": [{"role": "nobody", "content": "Hi"}]}\n'


def environment(**more: str) -> dict[str, str]:
    """Of a user whose shell says nothing about terminals and colours."""
    told = {"COLUMNS", "NO_COLOR", "TERM", "PYTHONIOENCODING", "PYTHONUTF8", "LC_ALL", "LANG"}
    return {**{name: value for name, value in os.environ.items() if name not in told}, "LANG": "C.UTF-8", **more}


def check(*arguments: str | Path, stdin: bytes = b"", **more: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *arguments], input=stdin, capture_output=True, timeout=WITHIN, check=False, env=environment(**more)
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8")
    )


def good(count: int) -> bytes:
    return b"".join(GOOD % (n, n) for n in range(count))


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "chats.jsonl"
    path.write_bytes(good(200))
    return path


@pytest.fixture
def flawed(tmp_path: Path) -> Path:
    """Line 3 and the last, 202, are malformed."""
    path = tmp_path / "flawed.jsonl"
    path.write_bytes(good(2) + BAD + good(198) + BAD)
    return path


def test_a_sound_file_is_accepted_with_exit_code_0(sound: Path) -> None:
    done = check(sound)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "chats.jsonl: accepted · 200 examples of chatml"
    assert "\033" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_a_flawed_file_is_refused_with_exit_code_1_and_its_lines(flawed: Path) -> None:
    done = check(flawed)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[0] == "flawed.jsonl: refused · 2 of 202 examples are malformed"
    assert "lines 3 and 202, messages[0].role" in done.stdout
    assert "--max-bad-fraction 0.0" in done.stdout


def test_json_is_one_object_whatever_the_verdict(sound: Path, flawed: Path) -> None:
    for path, code in ((sound, 0), (flawed, 1)):
        done = check(path, "--json")
        found = json.loads(done.stdout)
        assert (done.returncode, found["ok"], done.stderr) == (code, code == 0, "")
    assert {problem["number"] for problem in found["problems"]} == {3, 202}
    assert found["statistics"]["total_examples"] == 200


def test_the_suggested_share_is_accepted_and_what_was_dropped_is_kept(flawed: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl.gz"
    share = check(flawed).stdout.partition("--max-bad-fraction ")[2].split(";")[0]
    done = check(flawed, "--max-bad-fraction", share, "--output", output)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "flawed.jsonl: accepted · 200 examples of chatml, 2 malformed dropped"
    assert len(gzip.decompress(output.read_bytes()).splitlines()) == 200
    dropped = gzip.decompress((tmp_path / "out.dropped.jsonl.gz").read_bytes()).splitlines()
    assert [json.loads(line)["number"] for line in dropped] == [3, 202]
    assert f"Written to {output}, what was dropped to {tmp_path / 'out.dropped.jsonl.gz'}." in done.stdout


def test_a_refused_file_is_not_written(flawed: Path, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    done = check(flawed, "--output", tmp_path / "out.jsonl.gz")
    assert done.returncode == 1
    assert done.stdout.endswith("\nNothing was written.\n")
    assert set(tmp_path.iterdir()) == before


def test_a_demanded_format_is_the_one_that_is_checked(sound: Path) -> None:
    done = check(sound, "--format", "dpo")
    assert done.returncode == 1
    assert "dpo, as asked for" in done.stdout


def test_the_cap_bounds_what_is_shown_not_what_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(BAD * 50)
    found = json.loads(check(path, "--json", "--cap", "7").stdout)
    assert (len(found["problems"]), found["bad_examples"]) == (7, 50)
    assert sum(found["problem_counts"].values()) >= 50


def test_standard_input_is_read_packed_or_not() -> None:
    for content in (good(30), gzip.compress(good(30))):
        done = check("-", stdin=content)
        assert done.returncode == 0
        assert done.stdout.splitlines()[0] == "standard input: accepted · 30 examples of chatml"


def test_nothing_on_standard_input_is_refused() -> None:
    assert check("-").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.jsonl"], "nowhere.jsonl: No such file or directory"),
        (["folder"], "folder is a folder: give a file."),
        (["chats.jsonl/x"], "chats.jsonl/x: Not a directory"),
        (["chats.jsonl", "--output", "nowhere/out.jsonl.gz"], "There is no folder nowhere to write out.jsonl.gz to."),
        (["chats.jsonl", "--output", "folder"], "folder is a folder: give the name of a file to write."),
        (["chats.jsonl", "--output", "chats.jsonl"], "chats.jsonl is the file to be checked: choose another --output."),
        (["chats.jsonl", "--output", "link.gz"], "link.gz is the file to be checked: choose another --output."),
        (["chats.jsonl", "--tokenizer", "nowhere.json"], "nowhere.json cannot be read as a tokenizer: No such file"),
    ],
)
def test_what_cannot_be_checked_is_one_sentence_and_exit_code_2(
    sound: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(sound.parent)
    Path("folder").mkdir()
    Path("link.gz").hardlink_to(sound)
    before = sound.read_bytes()
    done = check(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"trainmaster datasets check: {said}")
    assert done.stderr.count("\n") == 1
    assert sound.read_bytes() == before


def test_what_cannot_be_checked_is_an_object_for_machines(tmp_path: Path) -> None:
    done = check(tmp_path / "nofile.jsonl", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["error"], told["problems"]) == (2, "FileNotFoundError", [])
    assert told["message"] == f"{tmp_path / 'nofile.jsonl'}: No such file or directory"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-bad-fraction", "1"], "a share is a number from 0 to below 1, such as 0.01, not '1'"),
        (["--max-bad-fraction", "nan"], "a share is a number from 0 to below 1, such as 0.01, not 'nan'"),
        (["--cap", "-1"], "a count is a whole number, not '-1'"),
        (["--format", "yaml"], "cannot be 'yaml': choose"),
        (["two"], "'two' is one word too many"),
    ],
)
def test_a_wrong_argument_is_refused_with_exit_code_2(sound: Path, arguments: list[str], said: str) -> None:
    done = check(sound, *arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_tokens_are_counted_by_the_tokenizer_that_is_named(sound: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    found = json.loads(check(sound, "--json", "--tokenizer", tmp_path / "tokenizer.json").stdout)
    assert found["statistics"]["exact_tokens"] == 200 * 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_at_once_while_a_pipe_says_nothing_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    command = [*COMMAND, "-", "--output", str(tmp_path / "out.jsonl.gz")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        assert process.stdin
        process.stdin.write(good(50_000))  # far more than a pipe holds: it is being read once this returns
        process.stdin.flush()
        process.send_signal(number)
        assert process.wait(WITHIN) == 128 + number
        assert process.stderr
        assert process.stderr.read() == b"Stopped before the end of the file: nothing was written.\n"
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_leaves_early_is_no_error(sound: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*COMMAND, sound], stdout=writing, stderr=subprocess.PIPE, timeout=WITHIN, check=False, env=environment()
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_terminal_that_knows_no_unicode_is_told_all_the_same(sound: Path) -> None:
    done = check(sound, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("chats.jsonl: accepted \\xb7 200 examples of chatml")


def on_terminal(*arguments: str | Path, **more: str) -> str:
    """What a terminal of 60 columns is sent."""
    terminal, process_end = pty.openpty()
    sent = b""
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=process_end,
        stdout=process_end,
        stderr=process_end,
        env=environment(COLUMNS="60", TERM="xterm", **more),
    ) as process:
        os.close(process_end)
        while select.select([terminal], [], [], WITHIN)[0]:
            try:
                piece = os.read(terminal, 65536)
            except OSError:  # what Linux says when the other end is closed
                break
            if not piece:
                break
            sent += piece
        process.wait(WITHIN)
    os.close(terminal)
    return sent.decode()


def test_a_terminal_gets_colour_unless_the_user_wants_none(sound: Path, flawed: Path) -> None:
    assert on_terminal(sound).startswith("\033[1;32mchats.jsonl: accepted")
    assert on_terminal(flawed).startswith("\033[1;31mflawed.jsonl: refused")
    plain = on_terminal(sound, NO_COLOR="1")
    assert "\033" not in plain
    assert max(map(len, plain.splitlines())) <= 60


def test_a_terminal_shows_how_far_a_long_reading_is_and_then_forgets_it() -> None:
    terminal, process_end = pty.openpty()
    sent, block = b"", good(10_000)
    with subprocess.Popen(
        [*COMMAND, "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=process_end, env=environment()
    ) as process:
        os.close(process_end)
        assert process.stdin
        while b"MB a second" not in sent:
            process.stdin.write(block)
            while select.select([terminal], [], [], 0)[0]:
                sent += os.read(terminal, 65536)
        process.stdin.close()
        assert process.wait(WITHIN) == 0
        with contextlib.suppress(OSError):  # what Linux says when the other end is closed
            while piece := os.read(terminal, 65536):
                sent += piece
    os.close(terminal)
    after = sent.rpartition(b"a second")[2]
    assert re.search(rb"\033\[\d*K", after), after
    assert re.sub(rb"\033\[[?\d;]*[A-Za-z]", b"", after).strip() == b""


def test_a_check_loads_nothing_that_only_other_commands_need(sound: Path) -> None:
    program = f"""
import sys
from trainmaster import cli
assert cli.main(["datasets", "check", {str(sound)!r}]) == 0
heavy = {{"boto3", "botocore", "sqlalchemy", "psycopg", "httpx", "pydantic", "prefect", "pandas", "matplotlib", "pyarrow",
  "tokenizers", "rich"}}
sys.exit(f"loaded {{heavy & set(sys.modules)}}" if heavy & set(sys.modules) else 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=WITHIN, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
