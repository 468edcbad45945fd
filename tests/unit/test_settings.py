"""What settings refuse together, before anything is written where nobody looks for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from trainmaster.errors import NotConfiguredError
from trainmaster.local_settings import PREFIX, LocalSettings
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


VARIABLES = ["AWS_REGION", "AWS_DEFAULT_REGION", *(f"{PREFIX}{name.upper()}" for name in LocalSettings.model_fields)]


def read_by(kind: type[LocalSettings]) -> dict[str, object]:
    """What it makes of the environment, or what it finds wrong there."""
    try:
        read = Settings() if kind is Settings else LocalSettings.of_environment()
    except ValidationError as error:
        return {"wrong": [(wrong["loc"], wrong["msg"], wrong["input"]) for wrong in error.errors()]}
    return read.model_dump(include=set(LocalSettings.model_fields))


class TestWhatIsAnsweredOnThisMachine:
    @pytest.mark.parametrize(
        "given",
        [
            {},
            {"AWS_DEFAULT_REGION": "eu-west-1"},
            {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_REGION": "eu-west-2"},
            {"AWS_REGION": "eu-west-2", "TRAINMASTER_REGION": "eu-west-3"},
            {"AWS_REGION": "eu-west-2", "TRAINMASTER_REGION": ""},
            {"aws_region": "eu-west-2", "Trainmaster_Team": "vision"},
            {"REGION": "eu-west-1", "TEAM": "vision", "STATE_DIR": "elsewhere"},
            {"TRAINMASTER_USER_ID": "5D0A6A0E-6F0E-4C37-9A3B-0F6F8A1C6B52", "TRAINMASTER_TEAM": "vision"},
            {"TRAINMASTER_USER_ID": "", "TRAINMASTER_POLICY_FILE": "", "TRAINMASTER_STATE_DIR": ""},
            {"TRAINMASTER_STATE_DIR": "/state", "TRAINMASTER_POLICY_FILE": "/policy.yaml"},
            {"TRAINMASTER_PRICES_FILE": "prices.csv", "TRAINMASTER_WORKSPACE_TEMPLATES": "templates"},
            {"TRAINMASTER_USER_ID": "7"},
            {"TRAINMASTER_TEAM": "two words", "TRAINMASTER_USER_ID": "7"},
        ],
        ids=lambda given: ",".join(f"{name}={value}" for name, value in given.items()) or "nothing",
    )
    def test_is_read_as_all_settings_are(self, given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        assert read_by(LocalSettings) == read_by(Settings)
