"""A request as API Gateway's REST proxy integration (payload format 1.0) gives it to a Lambda function."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime
from typing import Any

from werkzeug.wrappers import Request


def proxy_event(
    request: Request, *, account_id: str, api_id: str, stage: str, path: str, request_id: str, key_id: str
) -> dict[str, Any]:
    """A body that is no UTF-8 comes as base64."""
    headers = dict(request.headers.items())
    many = {name: request.headers.getlist(name) for name in headers}
    body = request.get_data()
    try:
        text, encoded = body.decode(), False
    except UnicodeDecodeError:
        text, encoded = base64.b64encode(body).decode(), True
    now = time.time()
    return {
        "resource": path,
        "path": path,
        "httpMethod": request.method,
        "headers": headers,
        "multiValueHeaders": many,
        "queryStringParameters": request.args.to_dict() or None,
        "multiValueQueryStringParameters": request.args.to_dict(flat=False) or None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "accountId": account_id,
            "apiId": api_id,
            "stage": stage,
            "requestId": request_id,
            "extendedRequestId": request_id.replace("-", "")[:15] + "=",
            "resourcePath": path,
            "path": f"/{stage}{path}",
            "httpMethod": request.method,
            "protocol": request.environ.get("SERVER_PROTOCOL", "HTTP/1.1"),
            "domainName": request.host,
            "requestTime": datetime.fromtimestamp(now, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "requestTimeEpoch": int(now * 1000),
            "identity": {
                "sourceIp": request.remote_addr,
                "userAgent": request.headers.get("User-Agent"),
                "apiKeyId": key_id or None,
            },
        },
        "body": text or None,
        "isBase64Encoded": encoded,
    }
