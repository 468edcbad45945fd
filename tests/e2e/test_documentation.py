"""What the front page and the tutorial tell people to type works as it stands, in their order, and answers what they show."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from documented_commands import NOT_RUN, blocks_of, is_as_shown, trainmaster_commands
from typed_commands import Terminal

from trainmaster.cli import parser_of

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/tutorial.md")
BLOCKS = {page: list(blocks_of(page, (ROOT / page).read_text(encoding="utf-8"))) for page in PAGES}
EVERY_PAGE = [file for pattern in ("*.md", "docs/*.md", "docs/decisions/*.md") for file in sorted(ROOT.glob(pattern))]
OF_A_CLONE = (".venv", "Makefile", "requirements.lock", "requirements-studio.lock", "pyproject.toml")
"""What commands of a page find in the folder they are given in; the program itself is the one that is installed."""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a fresh clone, after `make` has set up its environment."""
    folder = tmp_path_factory.mktemp("clone")
    for name in OF_A_CLONE:
        (folder / name).symlink_to(Path(sys.prefix) if name == ".venv" else ROOT / name)
    return folder


@pytest.fixture
def terminal(clone: Path) -> Iterator[Terminal]:
    """Of a person whose shell holds nothing of other work."""
    own = ("AWS_", "PREFECT_", "TRAINMASTER_", "SUPABASE_", "DATABASE_", "MAKE", "MFLAGS")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    terminal = Terminal(clone, {**clean, "HOME": str(clone), "LANG": "C.UTF-8", "COLUMNS": "100"})
    yield terminal
    terminal.close()


@pytest.mark.timeout(1200)  # whole runs of everything, one after the other
@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_does_what_the_page_says(page: str, terminal: Terminal) -> None:
    for block in BLOCKS[page]:
        for command in () if block.not_run else block.commands:
            said = terminal.type(command)
            assert said.exit_code == command.exit_code, f"{command}\nended with {said.exit_code}:\n{said.text}"
            assert not command.answer or is_as_shown(command.answer, said.text), (
                f"{command}\nsays\n{said.text}\nwhere the page shows\n{command.answer}"
            )


def test_few_blocks_are_not_run_and_each_says_so_to_its_reader() -> None:
    not_run = [block.not_run for blocks in BLOCKS.values() for block in blocks if block.not_run]
    assert set(not_run) <= NOT_RUN.keys()
    run = [block for blocks in BLOCKS.values() for block in blocks if not block.not_run]
    assert len(not_run) <= 4 < len(run)


@pytest.fixture(scope="module")
def parser() -> argparse.ArgumentParser:
    """With every command and option there is."""
    return parser_of(None)


@pytest.mark.parametrize("page", EVERY_PAGE, ids=[str(page.relative_to(ROOT)) for page in EVERY_PAGE])
def test_every_command_and_option_that_a_page_names_is_there(page: Path, parser: argparse.ArgumentParser) -> None:
    named = trainmaster_commands(page.read_text(encoding="utf-8"))
    assert [" ".join(words) for words in named if not is_there(words, parser)] == []


def is_there(words: Sequence[str], parser: argparse.ArgumentParser) -> bool:
    """Whether the first of the words name a command, and it has the options among the others."""
    rest = list(words)
    while rest and (groups := [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]):
        if rest[0].startswith("-"):
            break
        if rest[0] not in groups[0].choices:
            return False
        parser = groups[0].choices[rest.pop(0)]
    options = {word.partition("=")[0] for word in rest if word.startswith("--")}
    return options <= {*parser._option_string_actions, "--debug"}


class TestWhatAPageShows:
    def test_commands_go_on_after_a_backslash_and_to_the_end_of_a_here_document(self) -> None:
        page = "```console\n$ one \\\n    more\nsaid\n$ cat <<'EOF' > file\n$ no command\nEOF\n$ three  # exit code 1\n```\n"
        [block] = blocks_of("page", page)
        one, cat, three = block.commands
        assert (one.typed, one.answer, one.line) == ("one \\\n    more", "said", 2)
        assert (cat.typed, cat.answer) == ("cat <<'EOF' > file\n$ no command\nEOF", "")
        assert (three.exit_code, cat.exit_code, three.line) == (1, 0, 8)

    def test_a_block_may_say_first_that_it_is_not_run(self) -> None:
        [block] = blocks_of("page", "```console\n# needs an AWS account\n$ aws sts get-caller-identity\n```\n")
        assert block.not_run == "# needs an AWS account"
        assert block.commands[0].line == 3

    def test_commands_are_found_in_blocks_and_between_backticks(self, parser: argparse.ArgumentParser) -> None:
        page = "Say `trainmaster train pln`.\n```console\n$ cd x && trainmaster prices show \\\n    --no-such  # all\n```\n"
        found = trainmaster_commands(page)
        assert found == [["prices", "show", "--no-such"], ["train", "pln"]]
        assert [is_there(words, parser) for words in found] == [False, False]

    def test_a_block_that_begins_with_an_answer_is_refused(self) -> None:
        with pytest.raises(ValueError, match="page, line 2: a block begins with a command"):
            list(blocks_of("page", "```console\nhello\n```\n"))

    @pytest.mark.parametrize(
        ("shown", "said"),
        [
            ("done", "done\n"),
            ("first\n…\nlast", "first\na\nb\nlast"),
            ("first\n…\nlast", "first\nlast"),
            ("costs … in all", "costs $1.31 in all"),
            ("after 34 s, job a-0123456789-1", "after 5.2 s, job a-fedcba9876-1"),
            ("NAME     COST", "NAME  COST"),
            ("http://127.0.0.1:4200/x on 2026-11-22 10:00", "http://127.0.0.1:31/x on 2027-01-01 23:59"),
        ],
    )
    def test_it_is_what_was_said_but_for_what_is_left_out_or_differs_everywhere(self, shown: str, said: str) -> None:
        assert is_as_shown(shown, said)

    @pytest.mark.parametrize(
        ("shown", "said"),
        [
            ("done", "done\nand more"),
            ("first\nlast", "first\nbetween\nlast"),
            ("costs $1.00", "costs $2.00"),
            ("job a-0123456789-1", "job a-0123456789-2"),
            ("one two", "onetwo"),
        ],
    )
    def test_anything_else_is_told(self, shown: str, said: str) -> None:
        assert not is_as_shown(shown, said)
