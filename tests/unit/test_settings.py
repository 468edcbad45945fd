"""What settings refuse together, before anything is written where nobody looks for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from trainmaster.errors import NotConfiguredError
from trainmaster.settings import Settings
from trainmaster.storage.library import open_library

POSTGRES = SecretStr("postgresql://of-the-project:5432/postgres")


def configured(
    supabase_url: str | None, database_url: SecretStr | None = None, folder: Path = Path("state")
) -> Settings:
    set_ = {"supabase_url": supabase_url, "database_url": database_url, "state_dir": folder}
    return Settings().model_copy(update=set_)


@pytest.mark.parametrize("url", ["https://abc.supabase.co", "http://10.0.0.7:8000", "http://supabase-kong:8000", "abc"])
def test_a_project_elsewhere_without_its_database_is_refused_before_a_file_is_made(url: str, tmp_path: Path) -> None:
    settings = configured(url, folder=tmp_path / "state")
    with (
        pytest.raises(NotConfiguredError, match=r"DATABASE_URL is not set: .*catalog\.db.*session mode, port 5432"),
        open_library(settings),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
    assert configured(url, POSTGRES).catalogue_url == POSTGRES


@pytest.mark.parametrize(
    "url", [None, "http://127.0.0.1:24561", "http://localhost:54321", "http://[::1]:54321", "http://127.8.9.1"]
)
def test_one_of_this_machine_and_none_at_all_go_with_a_file(url: str | None) -> None:
    assert configured(url).catalogue_url is None
    assert configured(url, POSTGRES).catalogue_url == POSTGRES
