"""`logs:FilterLogEvents` by a prefix of stream names, as `aws logs tail` asks it: moto would search every stream."""

from __future__ import annotations

import io
import json

from werkzeug.wrappers import Request

from trainmaster.embedded.calls import Call
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.wire import AwsError


def by_names(account: Account, call: Call) -> Call:
    """The same search by the names of the streams that have the prefix; the call itself when it gives none."""
    try:
        search = json.loads(call.request.get_data())
    except ValueError:
        search = None
    if not isinstance(search, dict):
        raise AwsError("SerializationException", "The request body must be a JSON object.")
    prefix = search.pop("logStreamNamePrefix", None)
    if not isinstance(prefix, str) or not isinstance(search.get("logGroupName"), str):
        return call
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
    body = json.dumps({**search, "logStreamNames": names or [prefix]}).encode()
    environ = {**call.request.environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    return Call.of(Request(environ))
