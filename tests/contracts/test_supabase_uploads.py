"""Uploads to Supabase: found out when they go wrong, seen when they lose a race, resumed where they broke."""

from __future__ import annotations

import io

import pytest
from cutting_proxy import CuttingProxy
from object_stores import LARGE, Noise, body, content, put, read, sha256
from pydantic import SecretStr
from storage_between import DOWNLOAD, UPLOAD, PiecemealUpload, StorageBetween, altering, answering, meanwhile

from trainmaster.errors import CorruptedUploadError, NameConflictError, StorageUnavailableError
from trainmaster.storage.supabase import SupabaseStore
from trainmaster.storage.supabase_calls import Timing

SIZES = pytest.mark.parametrize("size", [1000, LARGE], ids=["raw", "resumable"])


class TestStoring:
    @SIZES
    def test_bytes_that_change_on_their_way_are_found_out_and_removed(
        self, between: StorageBetween, key: str, size: int
    ) -> None:
        spoil = altering(lambda data: bytes([data[0] ^ 1]) + data[1:])
        between.befall("POST", "object/training-datasets/", spoil)
        between.befall("PATCH", "upload/resumable/", spoil)

        with pytest.raises(CorruptedUploadError, match=f"sent {size} bytes.*Supabase holds {size} bytes.*removed"):
            put(between.store(), key, content(size))

        assert between.store().stat(key) is None

    @SIZES
    def test_bytes_that_were_lost_after_they_were_stored_are_found_out(
        self, between: StorageBetween, key: str, size: int
    ) -> None:
        between.befall("GET", DOWNLOAD, meanwhile(between.lose_bytes))

        with pytest.raises(CorruptedUploadError, match="removed"):
            put(between.store(), key, content(size))

        assert between.store().stat(key) is None

    @SIZES
    @pytest.mark.parametrize("same", [True, False])
    def test_who_was_faster_while_we_sent_is_seen(
        self, between: StorageBetween, key: str, size: int, same: bool
    ) -> None:
        theirs = content(size) if same else b"theirs"
        other = between.store()
        method, path = ("POST", UPLOAD) if size == 1000 else ("PATCH", UPLOAD)
        between.befall(method, path, meanwhile(lambda: put(other, key, theirs)))

        if same:
            assert not put(between.store(), key, content(size))
        else:
            with pytest.raises(NameConflictError, match=f"6 bytes with SHA-256 {sha256(theirs)}"):
                put(between.store(), key, content(size))
            assert len(between.called(method, path)) == (2 if method == "POST" else 1)  # the first is theirs

        assert read(between.store(), key) == theirs

    @SIZES
    def test_who_overwrote_us_before_we_looked_is_seen(self, between: StorageBetween, key: str, size: int) -> None:
        between.befall("GET", DOWNLOAD, meanwhile(lambda: between.overwrite(key, b"theirs")))

        with pytest.raises(NameConflictError, match="Nothing was replaced"):
            put(between.store(), key, content(size))

        assert read(between.store(), key) == b"theirs"

    @SIZES
    def test_an_answer_lost_on_its_way_back_does_not_make_our_object_another_s(
        self, between: StorageBetween, key: str, size: int
    ) -> None:
        """Storage has all of it; what it said never arrives, and the next try finds the object in its way."""
        data = content(size)
        between.befall("POST", "object/training-datasets/", between.losing_the_answer())
        between.befall("PATCH", "upload/resumable/", between.losing_the_answer(), times=2)

        assert put(between.store(), key, data)

        assert read(between.store(), key) == data

    def test_what_the_application_stored_without_a_checksum_is_compared_by_its_bytes(
        self, between: StorageBetween, key: str
    ) -> None:
        between.overwrite(key, b"stored by the application")

        assert not put(between.store(), key, b"stored by the application")
        with pytest.raises(NameConflictError):
            put(between.store(), key, b"stored by its adversary..")

    def test_what_claims_to_be_the_same_is_not_believed(self, between: StorageBetween, key: str) -> None:
        put(between.store(), key, b"given")
        between.spoil_bytes()

        with pytest.raises(NameConflictError):
            put(between.store(), key, b"given")


class TestResumableUpload:
    def test_it_goes_on_where_it_was_cut_and_sends_no_piece_twice_but_that_one(
        self, between: StorageBetween, key: str
    ) -> None:
        size = 20 << 20
        with CuttingProxy(between.url, cut_up=[15 << 20]) as proxy:
            store = SupabaseStore(
                proxy.url,
                SecretStr(between.keys.service_role_key),
                "training-datasets",
                timing=Timing(pause_seconds=0.01),
            )
            assert store.put(key, body(size), size=size, sha256=sha256(content(size)), content_type="application/gzip")
            assert proxy.cuts == 1

        assert [call.headers["Upload-Offset"] for call in between.called("PATCH", UPLOAD)] == [
            str(piece * (6 << 20)) for piece in (0, 1, 2, 2, 3)
        ]
        assert len(between.called("POST", "upload/resumable")) == 1

    def test_it_goes_on_in_the_middle_of_a_piece_where_storage_kept_the_beginning_of_it(
        self, between: StorageBetween, key: str
    ) -> None:
        """As Supabase's own server does of a piece whose connection broke."""
        data = content(LARGE)
        upload = PiecemealUpload(between)
        between.befall("POST", "upload/resumable", upload.begin)
        between.befall("PATCH", UPLOAD, upload.take_half, times=1)
        between.befall("PATCH", UPLOAD, upload.take, times=99)
        between.befall("HEAD", UPLOAD, upload.say, times=99)

        assert put(between.store(), key, data)

        assert read(between.store(), key) == data
        assert [call.headers["Upload-Offset"] for call in between.called("PATCH", UPLOAD)] == ["0", str(3 << 20)]

    def test_a_wrong_offset_is_set_right_by_asking(self, between: StorageBetween, key: str) -> None:
        data = content(LARGE)
        between.befall("PATCH", UPLOAD, between.losing_the_answer(409, "Upload-Offset conflict\n"))

        assert put(between.store(), key, data)

        assert read(between.store(), key) == data

    def test_one_that_storage_has_forgotten_is_begun_anew(self, between: StorageBetween, key: str) -> None:
        data = content(LARGE)
        between.befall("PATCH", UPLOAD, answering(410, "The file for this url no longer exists\n"))

        assert put(between.store(), key, data)

        assert read(between.store(), key) == data
        assert len(between.called("POST", "upload/resumable")) == 2

    def test_one_that_fails_for_good_is_taken_back(self, between: StorageBetween, key: str) -> None:
        between.befall("PATCH", UPLOAD, answering(503, b"{}"), times=99)

        with pytest.raises(StorageUnavailableError):
            put(between.store(), key, content(LARGE))

        assert len(between.called("PATCH", UPLOAD)) == 3
        assert len(between.called("DELETE", "upload/resumable/")) == 1
        assert between.store().stat(key) is None

    def test_one_that_is_interrupted_is_taken_back(self, between: StorageBetween, key: str) -> None:
        class Interrupted(Noise):
            def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
                if self.tell() > 6 << 20:
                    raise KeyboardInterrupt
                return super().readinto(buffer)

        given = io.BufferedReader(Interrupted(LARGE))
        with pytest.raises(KeyboardInterrupt):
            between.store().put(key, given, size=LARGE, sha256=sha256(b""), content_type="application/gzip")

        assert len(between.called("DELETE", "upload/resumable/")) == 1

    def test_one_that_storage_is_still_putting_together_is_waited_for(self, between: StorageBetween, key: str) -> None:
        """It has all pieces, answers too late, and knows the object a moment later."""
        upload = PiecemealUpload(between, shown=False)
        between.befall("POST", "upload/resumable", upload.begin)
        between.befall("PATCH", UPLOAD, upload.take, times=99)
        between.befall("HEAD", UPLOAD, upload.say, times=99)
        between.befall("GET", "object/info/", lambda _: None, times=2)
        between.befall("GET", "object/info/", meanwhile(upload.show))

        assert put(between.store(), key, content(LARGE))

        assert len(between.called("POST", "upload/resumable")) == 1

    def test_each_piece_is_six_mebibytes(self, between: StorageBetween, key: str) -> None:
        put(between.store(), key, content(LARGE))

        assert [call.sent for call in between.called("PATCH", UPLOAD)] == [6 << 20, LARGE - (6 << 20)]
