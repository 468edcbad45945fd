"""The whole upload as the Prefect UI starts it: from a file's name to a catalogued dataset, or to all that is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args
from uuid import UUID, uuid4

import httpx
import pytest
from library_shelves import BAD, S3, SUPABASE, Shelves, chats
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import Artifact, State
from prefect.logging.handlers import APILogWorker

from flows.upload_dataset import upload_dataset
from trainmaster.datasets.formats import Format
from trainmaster.datasets.request import FormatChoice, StorageChoice, UploadDatasetRequest, UploadedDataset
from trainmaster.errors import DatasetRefusedError, NotConfiguredError
from trainmaster.settings import Settings
from trainmaster.storage.library import open_library
from trainmaster.storage.links import download_link
from trainmaster.storage.store import StorageProvider


def run(file: Path | str, **choices: Any) -> State[UploadedDataset]:
    request = UploadDatasetRequest.model_validate({"file": str(file), "name": "my chats", **choices})
    return upload_dataset(request, return_state=True)


def artifacts(state: State[Any]) -> dict[str, Artifact]:
    of_this_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as api:
        return {str(one.key): one for one in api.read_artifacts(artifact_filter=of_this_run)}


def log(state: State[Any]) -> str:
    APILogWorker.drain_all(timeout=10)
    of_this_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as api:
        return "\n".join(line.message for line in api.read_logs(log_filter=of_this_run, limit=200))


def written(folder: Path, lines: list[str]) -> Path:
    file = folder / "chats.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def left_to_work_on() -> list[Path]:
    return [one for one in (Settings().state_dir / "uploads").iterdir() if one.is_dir()]


def test_a_dataset_named_by_its_path_is_stored_catalogued_and_shown(stack: Any, tmp_path: Path) -> None:
    user_id = uuid4()
    state = run(written(tmp_path, chats(30)), storage="both", user_id=str(user_id))
    done = state.result()
    assert (done.examples, done.storage_provider, done.found, done.warnings) == (30, "supabase", False, [])
    shown = artifacts(state)
    assert "# chats.jsonl: accepted" in str(shown["dataset-check"].data)
    assert "data:image/png;base64,iVBOR" in str(shown["dataset-check"].data)
    assert done.dataset_id in str(shown["dataset"].data)
    settings = Settings()
    with open_library(settings, lambda: stack.client("s3")) as library:
        link = download_link(library, UUID(done.dataset_id), user_id)
    assert httpx.get(link.url, headers={"Accept-Encoding": "identity"}).content[:2] == b"\x1f\x8b"
    assert left_to_work_on() == []
    said = log(state)
    assert settings.required("supabase_service_role_key") not in said + str(shown)
    assert done.sentence() in said

    again = run(tmp_path / "chats.jsonl", storage="both", user_id=str(user_id)).result()
    assert (again.found, again.dataset_id, {copy.sent for copy in again.copies}) == (True, done.dataset_id, {False})


def test_a_bad_file_is_refused_with_every_problem_and_nothing_is_stored(stack: Any, tmp_path: Path) -> None:
    shelves = Shelves(stack.environment, tmp_path)
    picture = '{"messages": [{"role": "<img src=x>", "content": "[here](http://x)"}]}'
    state = run(written(tmp_path, [*chats(3), BAD, "{", picture]), user_id=str(shelves.user_id))
    with pytest.raises(DatasetRefusedError) as refusal:
        state.result()
    shown = artifacts(state)
    for said in (str(refusal.value), str(shown["dataset-check"].data), str(shown["dataset-problems"].data)):
        assert "line 4" in said
        assert "line 5" in said
    for key in ("dataset-check", "dataset-problems"):  # both are shown as Markdown, which knows HTML
        assert "img src" in str(shown[key].data)
        assert " <img" not in str(shown[key].data) + str(shown[key].description)
        assert '"<img' not in str(shown[key].data)
    assert "dataset" not in shown
    assert shelves.objects() == set()
    assert left_to_work_on() == []
    shelves.catalogue.close()


def given(stack: Any, lines: list[str]) -> str:
    """The key of an object somebody gave us."""
    key = f"given/{uuid4()}.jsonl"
    stack.client("s3").put_object(Bucket=stack.bucket, Key=key, Body="\n".join(lines).encode())
    return key


def test_an_object_of_s3_is_read_with_the_workers_credentials_and_what_is_dropped_is_kept(stack: Any) -> None:
    user_id, key = uuid4(), given(stack, [*chats(9), BAD])
    done = run(f"s3://{stack.bucket}/{key}", storage="s3", max_bad_fraction=0.1, user_id=str(user_id)).result()
    assert (done.examples, done.dropped_examples) == (9, 1)
    with open_library(Settings(), lambda: stack.client("s3")) as library:
        kept = [obj.key for obj in library.stores.home(S3, user_id).list(f"{user_id}/")]
    assert len([key for key in kept if key.endswith(".dropped.jsonl.gz")]) == 1


def test_a_presigned_address_is_fetched_where_that_is_allowed_and_its_signature_kept_nowhere(
    stack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id, key = uuid4(), given(stack, chats())
    link = stack.client("s3").generate_presigned_url("get_object", Params={"Bucket": stack.bucket, "Key": key})
    address, _, query = link.partition("?")
    with pytest.raises(DatasetRefusedError, match="write https://"):
        run(link, user_id=str(user_id)).result()
    monkeypatch.setenv("TRAINMASTER_ALLOW_PRIVATE_ADDRESSES", "true")
    state = run(link, user_id=str(user_id))
    done = state.result()
    with open_library(Settings(), lambda: stack.client("s3")) as library:
        row = library.catalogue.datasets.get(UUID(done.dataset_id), user_id)
    assert row
    assert row.metadata
    assert row.metadata["source"]["uri"] == address
    secret = query.rpartition("Signature=")[2].partition("&")[0]
    assert len(secret) > 20
    assert secret not in log(state) + str(artifacts(state)) + str(row) + str(done)


def test_s3_without_aws_is_refused_before_the_file_is_even_looked_for(
    stack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    state = run("/not/there.jsonl", storage="s3", user_id=str(uuid4()))
    with pytest.raises(NotConfiguredError, match=r"no AWS credentials were found\. Set AWS_ACCESS_KEY_ID"):
        state.result()


def test_nobodys_dataset_is_refused(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRAINMASTER_USER_ID")
    with pytest.raises(NotConfiguredError, match="TRAINMASTER_USER_ID is not set"):
        run("/not/there.jsonl").result()


def test_the_form_offers_every_format_and_every_store() -> None:
    assert get_args(FormatChoice) == ("auto", *Format)
    assert get_args(StorageChoice) == (*StorageProvider, "both")
    assert list(StorageProvider) == [SUPABASE, S3]
    fields = UploadDatasetRequest.model_json_schema()["properties"]
    assert list(fields)[:3] == ["file", "name", "description"]
    assert fields["format"]["enum"] == list(get_args(FormatChoice))
    assert (fields["max_bad_fraction"]["minimum"], fields["max_bad_fraction"]["exclusiveMaximum"]) == (0, 1)
    assert "anyOf" not in json.dumps(fields)
