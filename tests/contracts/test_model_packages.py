"""An artifact is looked into before any endpoint is touched: what cannot be served is refused with what is wrong and what to do."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from typing import Any
from uuid import uuid4

import pytest

from trainmaster.endpoints.models import package as packages
from trainmaster.endpoints.models.kinds.kind import Example
from trainmaster.endpoints.models.package import inspect_model
from trainmaster.errors import ModelRefusedError

CARD = json.dumps({"model_version": "v1", "features": {"sqft": {"mean": 1800, "accepted": [100, 9000]}}})
CODE = "def model_fn(folder): return 0\n"
SOUND = {"model_card.json": CARD, "code/inference.py": CODE}


def packed(files: dict[str, str], *others: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
        for other in others:
            tar.addfile(other)
    return out.getvalue()


def member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def stored(jobs: Any, body: bytes) -> str:
    key = f"given/{uuid4().hex}/model.tar.gz"
    jobs.s3.put_object(Bucket=jobs.bucket, Key=key, Body=body)
    return f"s3://{jobs.bucket}/{key}"


def test_a_sound_artifact_is_known_by_its_checksum_and_size(jobs: Any) -> None:
    body = packed(SOUND) + b"\0" * 5000  # what tar leaves unread counts as well
    found = inspect_model(jobs.s3, stored(jobs, body))
    assert (found.sha256, found.size) == (hashlib.sha256(body).hexdigest(), len(body))
    assert found.card["model_version"] == "v1"


def test_names_that_begin_with_a_dot_and_a_slash_are_the_same_files(jobs: Any) -> None:
    assert inspect_model(jobs.s3, stored(jobs, packed({f"./{name}": text for name, text in SOUND.items()}))).size


@pytest.mark.parametrize(("kind", "target"), [(tarfile.SYMTYPE, "../served.py"), (tarfile.LNKTYPE, "served.py")])
def test_code_may_be_a_link_to_another_file_of_the_artifact(jobs: Any, kind: bytes, target: str) -> None:
    files = {"model_card.json": CARD, "served.py": CODE}
    assert inspect_model(jobs.s3, stored(jobs, packed(files, member("code/inference.py", kind, target)))).size


def test_of_code_without_end_only_so_much_is_looked_into(jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "LARGEST_LOOK", len(CARD) + len(CODE))
    files = {"model_card.json": CARD, "code/inference.py": CODE, "code/requirements.txt": "numpy = = 1"}
    assert inspect_model(jobs.s3, stored(jobs, packed(files))).size


def test_an_artifact_of_a_training_before_there_were_examples_has_none(jobs: Any) -> None:
    assert inspect_model(jobs.s3, stored(jobs, packed(SOUND))).smoke == ()


def test_the_examples_are_those_the_training_left(jobs: Any) -> None:
    examples = json.dumps({"predictions": [{"inputs": {"sqft": 900.0}, "predicted_price": 180_000.5}]})
    found = inspect_model(jobs.s3, stored(jobs, packed({**SOUND, "smoke_test.json": examples})))
    assert found.smoke == (Example({"sqft": 900.0}, 180_000.5),)


WHOLE = packed({**SOUND, "model.joblib": "".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(256))})
OTHER_THAN_ARCHIVES = {
    "nothing": b"",
    "text": b"not an archive",
    "a gzip of text": gzip.compress(b"not a tar"),
    "the first half": WHOLE[: len(WHOLE) // 2],
    "with something behind": WHOLE + b"something",
    "spoilt in the middle": WHOLE[:5000] + b"\xff" * 64 + WHOLE[5064:],
}


@pytest.mark.parametrize("body", OTHER_THAN_ARCHIVES.values(), ids=OTHER_THAN_ARCHIVES)
def test_what_is_no_whole_archive_is_refused(jobs: Any, body: bytes) -> None:
    with pytest.raises(ModelRefusedError, match=r"is not a (whole )?gzipped tar archive"):
        inspect_model(jobs.s3, stored(jobs, body))


ESCAPING = {
    "a path upwards": packed({**SOUND, "../../etc/cron.d/x": "!"}),
    "a link out": packed(SOUND, member("data", tarfile.SYMTYPE, "../../etc")),
    "a hard link out": packed(SOUND, member("data", tarfile.LNKTYPE, "../../etc/passwd")),
    "a device": packed(SOUND, member("null", tarfile.CHRTYPE)),
}


@pytest.mark.parametrize("body", ESCAPING.values(), ids=ESCAPING)
def test_what_would_leave_its_folder_is_refused(jobs: Any, body: bytes) -> None:
    with pytest.raises(ModelRefusedError, match="is not safe to unpack"):
        inspect_model(jobs.s3, stored(jobs, body))


UNSERVABLE = {
    "no code": ({"model_card.json": CARD}, (), "has no code/inference.py"),
    "code elsewhere": ({"model_card.json": CARD, "inference.py": CODE}, (), "has no code/inference.py"),
    "a folder for code": (
        {"model_card.json": CARD},
        (member("code/inference.py", tarfile.DIRTYPE),),
        "has no code/inference.py",
    ),
    "a link to nothing for code": (
        {"model_card.json": CARD},
        (member("code/inference.py", tarfile.SYMTYPE, "../other.py"),),
        "has no code/inference.py",
    ),
    "a link to code that cannot start": (
        {"model_card.json": CARD, "other.py": "x = 1", "code/other.py": "x = 1"},
        (member("code/inference.py", tarfile.SYMTYPE, "other.py"),),
        "defines no model_fn",
    ),
    "no card": ({"code/inference.py": CODE}, (), "it has no model_card.json, so nothing could be asked"),
    "a card that is none": ({**SOUND, "model_card.json": "[]"}, (), "model_card.json is not a JSON object"),
    "a card without features": ({**SOUND, "model_card.json": "{}"}, (), "its model_card.json lists no features with their means"),
    "no model_fn": ({**SOUND, "code/inference.py": "x = 1"}, (), "defines no model_fn"),
    "a package nobody installs": ({**SOUND, "code/inference.py": f"import torch\n{CODE}"}, (), "imports torch"),
    "requirements pip cannot read": ({**SOUND, "code/requirements.txt": "numpy = = 1"}, (), "a line pip cannot read"),
    "a card of a kind nobody knows": ({**SOUND, "model_card.json": '{"kind": "painter"}'}, (), "of kind 'painter', which nothing here"),
    "a language model without weights": (
        {
            **SOUND,
            "model_card.json": json.dumps(
                {"kind": "language-model", "model_version": "1", "parameters": 7, "example": {"inputs": "a"}}
            ),
        },
        (),
        "neither model.safetensors with its config.json nor an adapter",
    ),
    "examples that are none": ({**SOUND, "smoke_test.json": "{}"}, (), "smoke_test.json does not list inputs by feature"),
    "examples of other features": (
        {**SOUND, "smoke_test.json": '{"predictions": [{"inputs": {"rooms": 3}, "predicted_price": 1}]}'},
        (),
        "smoke_test.json does not list inputs by feature",
    ),
    "examples without a figure": (
        {**SOUND, "smoke_test.json": '{"predictions": [{"inputs": {"sqft": 3}, "predicted_price": NaN}]}'},
        (),
        "smoke_test.json does not list inputs by feature",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("files", "others", "said"), UNSERVABLE.values(), ids=UNSERVABLE)
def test_what_cannot_serve_is_refused_with_what_it_lacks(
    jobs: Any, files: dict[str, str], others: tuple[tarfile.TarInfo, ...], said: str
) -> None:
    with pytest.raises(ModelRefusedError, match=said):
        inspect_model(jobs.s3, stored(jobs, packed(files, *others)))


def test_what_is_not_there_is_refused(jobs: Any) -> None:
    with pytest.raises(ModelRefusedError, match=r"does not exist\. Give the model.tar.gz of a completed training job"):
        inspect_model(jobs.s3, f"s3://{jobs.bucket}/given/nothing/model.tar.gz")


def test_an_archive_that_unpacks_to_more_than_an_instance_takes_is_refused_before_it_is_read_whole(
    jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "LARGEST_UNPACKED", 1 << 20)
    with pytest.raises(ModelRefusedError, match="would unpack to more than an instance takes"):
        inspect_model(jobs.s3, stored(jobs, packed({**SOUND, "zeros": "0" * (1 << 20)})))
    monkeypatch.setattr(packages, "MOST_FILES", 5)
    with pytest.raises(ModelRefusedError, match="would unpack to more than an instance takes"):
        inspect_model(jobs.s3, stored(jobs, packed({**SOUND, **{str(number): "" for number in range(6)}})))
