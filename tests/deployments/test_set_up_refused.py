"""What a Prefect server refuses of a set-up is said without what is secret in it."""

from __future__ import annotations

import httpx
import pytest
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.set_up.server import reached
from trainmaster.errors import FlowRunsUnavailableError

ECHO = '{"exception_message": "Invalid request received.", "request_body": {"data": {"url": "https://example.com/s3cret"}}}'
"""As Prefect answers 422: with all that it was sent."""


def refused(path: str) -> str:
    """What is said of a server that does not take a request."""
    request = httpx.Request("POST", f"http://127.0.0.1:9/api{path}")
    answer = httpx.Response(422, request=request, text=ECHO)
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(FlowRunsUnavailableError) as raised,
        reached(),
    ):
        raise PrefectHTTPStatusError("refused", request=request, response=answer)
    return str(raised.value)


@pytest.mark.parametrize("path", ["/block_documents/", "/block_documents/0a1b", "/block_types/slug/slack-webhook"])
def test_of_a_block_with_an_address_nothing_is_quoted(path: str) -> None:
    said = refused(path)
    assert "s3cret" not in said
    assert f"answered 422 to POST /api{path}" in said


def test_of_all_else_the_reason_is_quoted() -> None:
    assert "Invalid request received." in refused("/work_pools/")
