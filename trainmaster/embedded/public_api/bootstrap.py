"""The process of one Lambda function: loads its handler once, then answers one event after the other, as AWS's Python runtime does.

Runs on its own, `python bootstrap.py FOLDER HANDLER`: standard input is one end of a socket, over which events come and answers go, a line
of JSON each. What the function prints goes to its log, between START and REPORT lines of this program.
"""

import importlib
import io
import json
import os
import resource
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

Handler = Callable[[Any, Any], Any]


class Context:
    """What AWS gives a Python handler beside its event."""

    def __init__(self, request_id: str, arn: str, deadline: float) -> None:
        self.aws_request_id, self.invoked_function_arn, self._deadline = request_id, arn, deadline
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.identity = self.client_context = None

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._deadline - time.time()) * 1000))


def loaded(name: str) -> Handler:
    module, _, function = name.rpartition(".")
    handler: Handler = getattr(importlib.import_module(module.replace("/", ".")), function)
    return handler


def failure(error: BaseException) -> dict[str, Any]:
    lines = traceback.format_exception(error)
    return {"errorMessage": str(error), "errorType": type(error).__name__, "stackTrace": lines[1:-1]}


def main(folder: str, name: str) -> int:
    channel = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    lines = channel.makefile("rwb")
    sys.path.insert(0, folder)
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", buffering=0, closefd=False), encoding="utf-8", write_through=True)

    def say(**said: Any) -> None:
        lines.write(json.dumps(said).encode() + b"\n")
        lines.flush()

    began = time.perf_counter()
    try:
        handler = loaded(name)
    except BaseException as error:  # noqa: BLE001 - the user's code may raise anything while it is imported
        traceback.print_exc()
        say(failed=failure(error))
        return 1
    init = (time.perf_counter() - began) * 1000
    say(ready=os.getpid())
    for line in lines:
        asked = json.loads(line)
        answer(handler, asked, init, say)
        init = 0.0
    return 0


def answer(handler: Handler, asked: dict[str, Any], init: float, say: Callable[..., None]) -> None:
    request_id, began = asked["request_id"], time.perf_counter()
    print(f"START RequestId: {request_id} Version: $LATEST")
    try:
        result = json.dumps(handler(asked["event"], Context(request_id, asked["arn"], asked["deadline"])))
        said: dict[str, Any] = {"result": result}
    except BaseException as error:  # noqa: BLE001 - whatever it raises, SystemExit included, is the answer
        said = {"failed": failure(error)}
        print(f"[ERROR] {type(error).__name__}: {error}\n{traceback.format_exc()}")
    took = (time.perf_counter() - began) * 1000
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"END RequestId: {request_id}\nREPORT RequestId: {request_id}\tDuration: {took:.2f} ms\t"
        f"Billed Duration: {int(took + init) + 1} ms\tMemory Size: {os.environ['AWS_LAMBDA_FUNCTION_MEMORY_SIZE']} MB\t"
        f"Max Memory Used: {used} MB" + (f"\tInit Duration: {init:.2f} ms" if init else "")
    )
    say(**said)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
