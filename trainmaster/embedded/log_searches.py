"""`logs:FilterLogEvents` as AWS does it: all streams by time, and by a prefix of their names, where moto would search every stream."""

from __future__ import annotations

import io
import json
from typing import Any

from werkzeug.wrappers import Request

from trainmaster.embedded.calls import Call
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.wire import AwsError


def by_names(account: Account, call: Call) -> Call:
    """The same search with the lines of all streams in the order of time, and by the names of the streams that have the prefix."""
    try:
        search = json.loads(call.request.get_data())
    except ValueError:
        search = None
    if not isinstance(search, dict):
        raise AwsError("SerializationException", "The request body must be a JSON object.")
    search["interleaved"] = True  # AWS has long ignored it, and always does; moto goes stream by stream without it
    prefix = search.pop("logStreamNamePrefix", None)
    if not isinstance(prefix, str) or not isinstance(search.get("logGroupName"), str):
        return _again(call, search)
    if "logStreamNames" in search:
        raise AwsError("InvalidParameterException", "LogStreamNames and LogStreamNamePrefix are mutually exclusive.")
    pages = account.logs.get_paginator("describe_log_streams").paginate(
        logGroupName=search["logGroupName"], logStreamNamePrefix=prefix
    )
    try:
        names = [stream["logStreamName"] for page in pages for stream in page["logStreams"]]
    except account.logs.exceptions.ResourceNotFoundException:
        return call  # moto says so itself
    # No names at all would mean all streams; a stream named as the prefix is not there, or it would have been found.
    return _again(call, {**search, "logStreamNames": names or [prefix]})


def _again(call: Call, search: dict[str, Any]) -> Call:
    body = json.dumps(search).encode()
    environ = {**call.request.environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    return Call.of(Request(environ))
