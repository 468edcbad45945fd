"""The sweep as its schedule starts it: what nobody vouches for goes, whatever the catalogue or a living upload has stays."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from library_shelves import SUPABASE, Shelves, chats

from flows.sweep_uploads import sweep_uploads
from trainmaster.datasets.request import SweepRequest
from trainmaster.settings import Settings
from trainmaster.storage.library import LEASE, dataset_path, open_library
from trainmaster.storage.uploading import upload


def test_what_a_killed_upload_left_is_removed_and_nothing_else(stack: Any, tmp_path: Path) -> None:
    shelves = Shelves(stack.environment, tmp_path)
    claimed = {}
    with open_library(Settings(), lambda: stack.client("s3")) as library:
        kept = upload(library, shelves.sound(shelves.request(chats(3))), [SUPABASE])
        new = shelves.sound(shelves.request(chats(5)))
        for lease in (timedelta(0), LEASE):
            path = dataset_path(SUPABASE, shelves.user_id, uuid4())
            store = library.stores.home(SUPABASE, shelves.user_id)
            claimed[lease] = library.catalogue.pending.claim(
                provider=SUPABASE, bucket=store.bucket, path=path, dataset_id=uuid4(), user_id=shelves.user_id,
                holder="somebody", lease=lease,
            )  # fmt: skip
            with new.normalised.open("rb") as body:
                store.put(path, body, size=new.written.size, sha256=new.written.sha256, content_type="application/gzip")

        swept = sweep_uploads(SweepRequest())

        abandoned, living = (claim.path for claim in claimed.values() if claim)
        assert f"supabase://training-datasets/{abandoned}" in swept.removed
        assert shelves.objects() == {f"supabase://{living}", kept.copies[0].uri.replace("training-datasets/", "")}
        assert sweep_uploads(SweepRequest()).removed == []
        shelves.catalogue.close()
