"""Checks are made at once, each for so long and no longer, and none hides what the others find."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainmaster.doctor import here
from trainmaster.doctor.findings import Check, Finding, examine, ok
from trainmaster.doctor.prefect import prefect
from trainmaster.errors import NotConfiguredError
from trainmaster.settings import Settings


def test_findings_come_in_the_order_of_the_checks_and_errors_are_findings_too() -> None:
    def unconfigured() -> Iterator[Finding]:
        yield ok("b", "half of it")
        raise NotConfiguredError("Set it.")

    def breaks() -> Iterator[Finding]:
        raise ZeroDivisionError("of nothing\nand more of it")
        yield

    found = examine([
        Check("a", lambda: [ok("a", "well")], ""),
        Check("b", unconfigured, "not this"),
        Check("c", breaks, "Try this."),
    ])  # fmt: skip
    assert [(one.subject, one.verdict, one.says, one.fix) for one in found] == [
        ("a", "ok", "well", ""),
        ("b", "fail", "Set it.", ""),
        ("c", "fail", "ZeroDivisionError: of nothing", "Try this."),
    ]


def test_they_are_made_at_once_and_one_that_hangs_is_a_failure() -> None:
    together, never = threading.Barrier(2, timeout=60), threading.Event()

    def met() -> Iterator[Finding]:
        together.wait()
        yield ok("met", "both were under way")

    def hangs() -> Iterator[Finding]:
        never.wait(240)
        yield ok("hangs", "too late")

    [one, other] = examine([Check("met", met, ""), Check("met", met, "")], seconds=60)
    assert one == other == ok("met", "both were under way")
    [late] = examine([Check("hangs", hangs, "Wake it.")], seconds=0.1)
    never.set()
    assert (late.verdict, late.says, late.fix) == ("fail", "said nothing for 0 s", "Wake it.")


def test_what_is_not_set_is_named_by_its_variable() -> None:
    found = list(here.settings(Settings.model_construct(bucket=None, execution_role_arn=None), {}))
    assert [one.says for one in found] == [
        "TRAINMASTER_BUCKET is not set",
        "TRAINMASTER_EXECUTION_ROLE_ARN is not set",
    ]


def test_every_setting_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under each name it may have; a variable of somebody else is none of ours."""
    names = [name for field in Settings.model_fields for name in here._variables(field)]
    environment = {**dict.fromkeys(names, "x"), "TERM": "dumb"}
    set_ = Settings.model_construct(bucket="b", execution_role_arn="r")
    assert [one.verdict for one in here.settings(set_, environment)] == ["ok"]


def test_shipped_files_are_sound(tmp_path: Path) -> None:
    settings = Settings().model_copy(update={"state_dir": tmp_path, "region": "us-east-1"})
    for check in (here.policy, here.templates):
        assert [one.verdict for one in check(settings)] == ["ok"]
    assert [one.subject for one in here.prices(settings)] == ["prices"]
    [elsewhere] = here.prices(settings.model_copy(update={"region": "mars-north-1"}))
    assert (elsewhere.verdict, elsewhere.fix) == ("fail", "`trainmaster prices refresh --region mars-north-1`")


def test_a_prefect_server_that_is_away_or_not_named_is_said_without_its_key(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    [unnamed] = prefect(home)
    assert unnamed.says == "PREFECT_API_URL is not set"
    profiles = tmp_path / ".prefect" / "profiles.toml"
    profiles.parent.mkdir()
    profiles.write_text(
        'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\nPREFECT_API_KEY = "s3cret"\n'
    )
    [away] = prefect(home)
    assert away.says == "http://127.0.0.1:9/api does not answer (ConnectError)"
    assert "s3cret" not in away.says + away.fix
