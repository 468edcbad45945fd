"""Download links: to whichever copy there is, for as long as was asked, for the dataset's own user alone."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from library_shelves import S3, SUPABASE, Shelves, chats
from sqlalchemy import text

from trainmaster.errors import DatasetMissingError, NotConfiguredError, ObjectMissingError, UnknownChoiceError
from trainmaster.storage.library import DROPPED_SUFFIX, SUFFIX
from trainmaster.storage.links import DownloadLink, download_link, file_name
from trainmaster.storage.store import StorageProvider
from trainmaster.storage.stores import Stores
from trainmaster.storage.uploading import NewDataset, upload


def stored(shelves: Shelves, storage: list[StorageProvider], **choices: Any) -> NewDataset:
    new = shelves.sound(shelves.request(chats(), **choices))
    upload(shelves.library, new, storage)
    return new


def downloaded(link: DownloadLink) -> httpx.Response:
    return httpx.get(link.url, headers={"Accept-Encoding": "identity"}).raise_for_status()


@pytest.mark.parametrize("provider", [SUPABASE, S3])
def test_anybody_with_the_link_gets_the_very_bytes_under_the_datasets_name(
    provider: StorageProvider, shelves: Shelves
) -> None:
    new = stored(shelves, [provider], name='Räksmörgås / 100% "best"')
    link = download_link(shelves.library, new.id, shelves.user_id)
    answer = downloaded(link)
    assert answer.read() == new.normalised.read_bytes()
    assert link.provider == provider
    assert link.file_name == "Räksmörgås _ 100_ _best_.jsonl.gz"
    assert "filename" in answer.headers["Content-Disposition"]
    assert (
        "rgas" in answer.headers["Content-Disposition"]
        or "R%C3%A4ksm%C3%B6rg%C3%A5s" in answer.headers["Content-Disposition"]
    )


@pytest.mark.parametrize("provider", [SUPABASE, S3])
def test_it_is_good_for_two_hours_unless_asked_otherwise_and_then_no_more(
    provider: StorageProvider, shelves: Shelves
) -> None:
    new = stored(shelves, [provider])
    for asked, wanted in ((None, 7200), (timedelta(days=7), 7 * 86400)):
        link = download_link(shelves.library, new.id, shelves.user_id, *([asked] if asked else []))
        assert abs((link.expires_at - datetime.now(UTC)).total_seconds() - wanted) < 30
        assert downloaded(link)
    short = download_link(shelves.library, new.id, shelves.user_id, timedelta(seconds=1))
    statuses = iter(lambda: httpx.get(short.url).status_code, None)
    assert next(status for status in statuses if status >= 400) in (400, 403)


@pytest.mark.parametrize("asked", [timedelta(0), timedelta(days=-1), timedelta(days=7, seconds=1)])
def test_no_link_is_good_for_no_time_or_for_more_than_seven_days(asked: timedelta, shelves: Shelves) -> None:
    new = stored(shelves, [SUPABASE])
    with pytest.raises(UnknownChoiceError, match="1 second to 7 days"):
        download_link(shelves.library, new.id, shelves.user_id, asked)


def test_another_users_dataset_is_as_missing_as_one_that_never_was(shelves: Shelves) -> None:
    new, stranger, nothing = stored(shelves, [S3]), uuid4(), uuid4()

    def refusal(dataset_id: UUID) -> str:
        with pytest.raises(DatasetMissingError) as error:
            download_link(shelves.library, dataset_id, stranger)
        return str(error.value).replace(str(dataset_id), "ID")

    assert refusal(new.id) == refusal(nothing)


@pytest.mark.parametrize("order", [[SUPABASE, S3], [S3, SUPABASE]])
def test_when_the_first_copy_is_gone_the_link_leads_to_the_other_and_the_log_says_so(
    order: list[StorageProvider], shelves: Shelves, caplog: pytest.LogCaptureFixture
) -> None:
    new = stored(shelves, order)
    row = shelves.catalogue.datasets.get(new.id, shelves.user_id)
    assert row
    shelves.store(order[0]).delete(row.storage_path)
    with caplog.at_level(logging.INFO):
        link = download_link(shelves.library, new.id, shelves.user_id)
    assert downloaded(link).read() == new.normalised.read_bytes()
    assert link.provider == order[1]
    assert f"Dataset {new.id} cannot be had from {order[0]}" in caplog.text
    assert f"the link leads to the copy in {order[1]} instead" in caplog.text


@pytest.mark.parametrize(
    ("order", "kind"),
    [([SUPABASE, S3], "source_unsound"), ([SUPABASE, S3], "source_missing"), ([S3, SUPABASE], "damaged")],
)
def test_nobody_is_sent_to_a_copy_that_was_found_wrong_while_there_is_another(
    order: list[StorageProvider], kind: Any, shelves: Shelves, caplog: pytest.LogCaptureFixture
) -> None:
    new = stored(shelves, order)
    row = shelves.catalogue.datasets.get(new.id, shelves.user_id)
    assert row
    shelves.catalogue.migrations.hindered([(new.id, kind, "It was found so.", "Mend it.", row.updated_at)])
    link = download_link(shelves.library, new.id, shelves.user_id)
    assert link.provider == order[1]
    assert f"Dataset {new.id}: its copy in {order[0]} was found wrong ({kind})" in caplog.text
    other = row.copy_at(order[1])
    assert other
    shelves.store(order[1]).delete(other.path)
    assert download_link(shelves.library, new.id, shelves.user_id).provider == order[0]


def test_the_only_copy_is_given_whatever_was_found_of_it(shelves: Shelves) -> None:
    new = stored(shelves, [S3])
    row = shelves.catalogue.datasets.get(new.id, shelves.user_id)
    assert row
    shelves.catalogue.migrations.hindered([(new.id, "damaged", "It was found so.", "Mend it.", row.updated_at)])
    assert download_link(shelves.library, new.id, shelves.user_id).provider == S3


def test_a_provider_that_is_not_set_up_here_any_more_is_passed_over_too(shelves: Shelves) -> None:
    new = stored(shelves, [SUPABASE, S3])
    unset = shelves.settings.model_copy(update={"supabase_url": None})
    library = replace(shelves.library, stores=Stores(unset, lambda: shelves.s3))
    assert download_link(library, new.id, shelves.user_id).provider == S3


def test_when_every_copy_is_gone_it_is_said_which_is_missing(shelves: Shelves) -> None:
    new = stored(shelves, [SUPABASE, S3])
    for obj in shelves.objects():
        provider, _, path = obj.partition("://")
        shelves.store(StorageProvider(provider)).delete(path)
    with pytest.raises(ObjectMissingError, match=str(new.id)):
        download_link(shelves.library, new.id, shelves.user_id)


def test_what_the_application_stored_itself_can_be_had(shelves: Shelves) -> None:
    """Of its rows no copy is recorded, and no bucket."""
    new = stored(shelves, [SUPABASE])
    with shelves.catalogue.database.writing() as connection:
        connection.execute(text("delete from dataset_copies"))
    assert downloaded(download_link(shelves.library, new.id, shelves.user_id)).read() == new.normalised.read_bytes()


def test_nothing_configured_is_said_not_guessed(shelves: Shelves) -> None:
    new = stored(shelves, [SUPABASE])
    unset = shelves.settings.model_copy(update={"supabase_url": None})
    library = replace(shelves.library, stores=Stores(unset, lambda: shelves.s3))
    with pytest.raises(NotConfiguredError, match="SUPABASE_URL"):
        download_link(library, new.id, shelves.user_id)


def test_no_link_is_logged_or_shown_by_accident(shelves: Shelves, caplog: pytest.LogCaptureFixture) -> None:
    new = stored(shelves, [SUPABASE, S3])
    with caplog.at_level(logging.INFO):
        links = [download_link(shelves.library, new.id, shelves.user_id)]
        shelves.store(SUPABASE).delete(f"{shelves.user_id}/private/{new.id}.jsonl.gz")
        links.append(download_link(shelves.library, new.id, shelves.user_id))
    assert [link.provider for link in links] == [SUPABASE, S3]
    for link in links:
        secret = link.url.rpartition("token=")[2] if "token=" in link.url else link.url.rpartition("Signature=")[2]
        assert len(secret) > 20
        assert secret not in caplog.text + repr(link) + str(link)


@pytest.mark.parametrize("name", ["chats", "chats.jsonl", "chats.jsonl.gz", " chats. "])
def test_a_name_that_has_the_ending_already_gets_no_second(name: str) -> None:
    assert file_name(name) == "chats.jsonl.gz"


@given(st.text(min_size=1, max_size=150))
def test_any_name_makes_a_file_name_that_is_one(name: str) -> None:
    made = file_name(name)
    assert made.endswith(SUFFIX)
    assert not made.startswith((".", " "))
    assert not set(made) & set('/\\:*?"<>|\0\n\r')
    assert len(made) <= 100 + len(SUFFIX)
    assert not made.endswith(DROPPED_SUFFIX) or ".dropped" in name


class TestRowsSomebodyElseWrote:
    """Rows of `training_datasets` are the application's, whose users may write them; we sign with a key that reads everything."""

    def forge(self, shelves: Shelves, own: NewDataset, path: str, *, with_copies: bool) -> None:
        with shelves.catalogue.database.writing() as connection:
            connection.execute(
                text("UPDATE training_datasets SET storage_path = :path WHERE user_id = :user"),
                {"path": path, "user": shelves.user_id.hex},
            )
            if not with_copies:
                connection.execute(text("DELETE FROM dataset_copies WHERE dataset_id = :id"), {"id": own.id.hex})

    def test_a_row_that_names_another_users_object_links_to_nothing(
        self, embedded: Any, shelves: Shelves, tmp_path: Path
    ) -> None:
        other = Shelves(embedded.environment, tmp_path / "other")
        theirs = stored(other, [SUPABASE])
        mine = stored(shelves, [SUPABASE])
        path = f"{other.user_id}/private/{theirs.id}.jsonl.gz"
        for sneaky in (path, f"{shelves.user_id}/../{path}"):
            self.forge(shelves, mine, sneaky, with_copies=False)
            with pytest.raises(ObjectMissingError, match="names no object of"):
                download_link(shelves.library, mine.id, shelves.user_id)
        other.catalogue.close()

    def test_a_recorded_copy_is_where_we_put_it_whatever_the_row_says_since(self, shelves: Shelves) -> None:
        mine = stored(shelves, [SUPABASE])
        self.forge(shelves, mine, f"{uuid4()}/private/{uuid4()}.jsonl.gz", with_copies=True)
        link = download_link(shelves.library, mine.id, shelves.user_id)
        assert downloaded(link).read() == mine.normalised.read_bytes()
