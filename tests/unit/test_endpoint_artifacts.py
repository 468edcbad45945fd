"""What an address may lead to instead of a model, and what is to be done about each."""

import gzip
import hashlib
import io
import tarfile
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError

from trainmaster.endpoints.models.package import inspect_model
from trainmaster.errors import ModelRefusedError

URI = "s3://bucket/jobs/houses-1/output/model.tar.gz"
ANOTHER, AGAIN = "Give the model.tar.gz of a completed training job.", "Train again."


def archive() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        member = tarfile.TarInfo("code/inference.py")
        member.size = 40_000
        tar.addfile(member, io.BytesIO(hashlib.shake_256().digest(member.size)))
    return out.getvalue()


WHOLE = archive()
OTHER_THINGS = {
    "nothing": (b"", ANOTHER),
    "text": (b"sqft,price\n1800,451320\n", ANOTHER),
    "one byte of gzip": (b"\x1f", ANOTHER),
    "a plain tar": (gzip.decompress(WHOLE), ANOTHER),
    "gzipped text": (gzip.compress(b"sqft,price\n" * 1_000), ANOTHER),
    "gzipped nothing": (gzip.compress(b""), ANOTHER),
    "junk behind a gzip header": (b"\x1f\x8b\x08not really", AGAIN),
    "half of an archive": (WHOLE[: len(WHOLE) // 2], AGAIN),
    "an archive with another checksum": (WHOLE[:-8] + b"\0\0\0\0" + WHOLE[-4:], AGAIN),
}


def refusal(s3: Mock) -> str:
    with pytest.raises(ModelRefusedError) as error:
        inspect_model(s3, URI)
    return str(error.value)


@pytest.mark.parametrize(("content", "advice"), OTHER_THINGS.values(), ids=OTHER_THINGS)
def test_only_what_was_an_archive_once_is_to_be_trained_again(content: bytes, advice: str) -> None:
    said = refusal(Mock(get_object=lambda **_: {"Body": io.BytesIO(content)}))
    assert said.startswith(f"{URI} is not a ")
    assert said.endswith(advice)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("NoSuchKey", f"{URI} does not exist. {ANOTHER}"),
        ("NoSuchBucket", f"{URI} does not exist: there is no bucket bucket. {ANOTHER}"),
    ],
)
def test_a_missing_bucket_is_told_from_a_missing_key(code: str, said: str) -> None:
    error = ClientError({"Error": {"Code": code, "Message": "Not there."}}, "GetObject")
    assert refusal(Mock(get_object=Mock(side_effect=error))) == said
