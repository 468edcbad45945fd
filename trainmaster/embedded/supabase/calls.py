"""One call of the Storage API, as its operations see it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from werkzeug.wrappers import Request, Response

from trainmaster.embedded.supabase import errors
from trainmaster.embedded.supabase.store import Row, Store
from trainmaster.embedded.supabase.tokens import Caller, Keys

Body = TypeVar("Body", bound=BaseModel)

_LARGEST_JSON = 1 << 20
_KEY = re.compile(r"[\w/!\-.*'() &$@=;:+,?]+", re.ASCII)


@dataclass(frozen=True)
class Call:
    """`bucket_id` and `key` are those in its address, or empty.

    After `cut_after` bytes the connection is to break: of the request where it brings an object's bytes, else of the answer.
    """

    request: Request
    store: Store
    keys: Keys
    caller: Caller
    bucket_id: str = ""
    key: str = ""
    upload_id: str = ""
    cut_after: int | None = None

    @property
    def path(self) -> str:
        """What signed addresses sign."""
        return f"{self.bucket_id}/{self.key}"

    def body(self, model: type[Body]) -> Body:
        """The JSON body; raises StorageError for one that is malformed (400) or over a mebibyte (413)."""
        if (self.request.content_length or 0) > _LARGEST_JSON:
            raise errors.StorageError(413, "FastifyError", "Request body is too large", http=413)
        try:
            return model.model_validate_json(self.request.get_data() or b"{}")
        except ValidationError as error:
            first = error.errors()[0]
            where = "/".join(("body", *map(str, first["loc"])))
            raise errors.invalid_request(f"{where} {first['msg']}") from None

    def visible(self, key: str) -> Row:
        """The row of an object the caller may see; others' are as absent as absent ones."""
        valid(key)
        row = self.store.object(self.bucket_id, key) if self.caller.may_touch(key) else None
        if row is None:
            raise errors.no_such_object()
        return row

    def may_write(self, caller: Caller, bucket_id: str, key: str, *, upsert: bool) -> None:
        """Raises StorageError: 403 for another's folder, 409 for a key that is taken and not to be replaced.

        It says so of this moment only. As on the real server nothing holds the key until the bytes have come: of
        concurrent uploads without `upsert` several may succeed.
        """
        valid(key)
        if not caller.may_touch(key):
            raise errors.denied()
        if not upsert and self.store.object(bucket_id, key):
            raise errors.already_there()


def valid(key: str) -> None:
    """Raises StorageError (InvalidKey): of S3's safe characters only, no `~`, none outside ASCII."""
    if not _KEY.fullmatch(key):
        raise errors.invalid_key(key)


def said(content: Any, status: int = 200) -> Response:
    return Response(json.dumps(content), status=status, content_type="application/json; charset=utf-8")
