"""What pages are made of: whatever goes in is shown as it is, secrets are hidden, and a bar says how much of the whole."""

from __future__ import annotations

from decimal import Decimal

import pytest

from trainmaster.reporting.page import bar, facts, lines, links, page, table
from trainmaster.training.secrets import hidden

D = Decimal


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [
        (D(0), D(4), "░" * 20 + "\N{NO-BREAK SPACE}0\N{NO-BREAK SPACE}%"),
        (D("0.000001"), D(400), "█" + "░" * 19 + "\N{NO-BREAK SPACE}0\N{NO-BREAK SPACE}%"),
        (D(1), D(4), "█" * 5 + "░" * 15 + "\N{NO-BREAK SPACE}25\N{NO-BREAK SPACE}%"),
        (D("3.9999"), D(4), "█" * 19 + "░" + "\N{NO-BREAK SPACE}99\N{NO-BREAK SPACE}%"),
        (D(5), D(4), "█" * 20 + "\N{NO-BREAK SPACE}125\N{NO-BREAK SPACE}%"),
        (D(1), D(0), "of $0"),
    ],
    ids=["nothing", "hardly anything", "a quarter", "not all yet", "too much", "of nothing"],
)
def test_a_bar_is_full_only_when_all_is_used(part: Decimal, whole: Decimal, said: str) -> None:
    assert bar(part, whole) == said


def test_markup_and_what_commands_a_terminal_is_shown_as_it_is() -> None:
    shown = page("<b>", "![x](http://y)", [("Facts", facts([("a|b", "c\n| d |"), ("left out", "")])), ("None", "")])
    assert "# \\<b\\>" in shown
    assert "**\\!\\[x\\](http://y)**" in shown
    assert "| a\\|b | c\\\\n\\| d \\| |" in shown
    assert "left out" not in shown
    assert "None" not in shown
    assert "\x1b" not in lines(["\x1b[31mred"])
    assert links([("a](http://evil)", "https://console")]) == "- [a\\](http://evil)](https://console)"
    assert table(("",), [["*x*"]]).endswith("| \\*x\\* |")


@pytest.mark.parametrize(
    "line",
    [
        "fetching https://b.s3.amazonaws.com/k?X-Amz-Expires=5&X-Amz-Signature=SECRET&z=1",
        "Authorization: Bearer SECRETSECRETSECRET",
        "https://anna:SECRET@example.com/data",
        "export HF=hf_SECRETSECRETSECRET",
        "password=SECRET",
        "-----BEGIN RSA PRIVATE KEY-----\nSECRET\nSECRET\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nSECRET, and no end",
    ],
    ids=["presigned", "bearer", "in an address", "token", "password", "key", "key without end"],
)
def test_what_has_the_shape_of_a_secret_is_hidden_whole_and_what_is_beside_it_stays(line: str) -> None:
    shown = lines(["loss 0.5", line, ""] if "no end" in line else ["loss 0.5", line, "ValueError: bad"])
    assert "SECRET" not in shown
    assert "hidden" in shown
    assert "loss 0.5" in shown
    assert ("ValueError: bad" in shown) == ("no end" not in line)
    assert hidden("loss 0.5 at step 3, see s3://bucket/key") == "loss 0.5 at step 3, see s3://bucket/key"


@pytest.mark.parametrize("word", ["a.", "a://", "eyJ-", "?sig"])
def test_a_line_as_long_as_a_log_may_have_does_not_keep_a_page_from_being_made(word: str) -> None:
    """Each word looks like the beginning of a secret; reading on to the end from each of them would take minutes."""
    line = word * (256 * 1024 // len(word))
    assert hidden(line) == line
    assert hidden(f"{line} postgresql://me:s3cret@db") == f"{line} (hidden: looks like a secret)"
