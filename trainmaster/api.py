"""`trainmaster api`: the HTTP API, until Ctrl-C. Like `cli` a door, not a room: it stands above the flows and starts them."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from contextlib import ExitStack
from functools import partial
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from trainmaster.errors import NotConfiguredError, TrainmasterError

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from trainmaster.settings import Settings

PORT = 8000
GRACE_SECONDS = 30
"""For what is being answered when the server is told to end."""
CONNECTIONS = 1000
"""At once, of each process."""
_WORKER_ANSWERS_WITHIN = 60  # a process that is busy is not dead


def add_parser(commands: Any) -> None:
    """`trainmaster api`."""
    about = "The HTTP API of the web application, until Ctrl-C. Its description is at /docs; docs/http-api.md says what to set."
    api = commands.add_parser("api", help="the HTTP API of the web application, until Ctrl-C", description=about)
    api.add_argument("--host", default="127.0.0.1", help="to listen on (default %(default)s)")
    api.add_argument("--port", type=int, default=PORT, help="to listen on, 0 for a free one (default %(default)s)")
    api.add_argument("--workers", type=int, default=1, help="processes that answer (default %(default)s)")
    api.set_defaults(run=serve)


def serve(args: argparse.Namespace) -> int:
    """Exit code 0 after Ctrl-C or SIGTERM, once what was being answered is; 1 with the reason when it cannot begin."""
    from trainmaster.settings import Settings  # noqa: PLC0415

    try:
        settings = Settings()
        serving().state.close()  # what keeps it from serving is told here, once, whatever serves
        with ExitStack() as stack:
            listening = stack.enter_context(_listening(args.host, args.port))
            if args.workers > 1:
                from trainmaster.http_api.request_metrics import SHARED  # noqa: PLC0415

                os.environ[SHARED] = stack.enter_context(TemporaryDirectory(prefix="trainmaster-metrics-"))
            host, port = listening.getsockname()[:2]
            print(f"The HTTP API is at http://{host}:{port}, described at /docs. Ctrl-C ends it.", flush=True)
            return _run(_config(settings, max(args.workers, 1)), listening)
    except TrainmasterError as error:
        print(error, file=sys.stderr)
        return 1


def serving() -> FastAPI:
    """The application over its own office, by this process's environment. Raises NotConfiguredError."""
    from trainmaster.aws.clients import hurried_clients  # noqa: PLC0415
    from trainmaster.flow_runs import PrefectRuns  # noqa: PLC0415
    from trainmaster.http_api.application import application  # noqa: PLC0415
    from trainmaster.http_api.log_lines import write_lines  # noqa: PLC0415
    from trainmaster.http_api.office import Office  # noqa: PLC0415
    from trainmaster.settings import Settings  # noqa: PLC0415
    from trainmaster.training.desk import open_desk  # noqa: PLC0415

    write_lines()
    settings = Settings()
    with ExitStack() as opened:
        desk = opened.enter_context(open_desk(settings, hurried_clients(settings.region)))
        return application(Office(settings, desk, PrefectRuns()), opened.pop_all().close)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise NotConfiguredError(
            f"The HTTP API cannot listen on {host}:{port}: {error}. Choose another with --port or --host."
        ) from error


def _config(settings: Settings, workers: int) -> uvicorn.Config:
    import uvicorn  # noqa: PLC0415

    from trainmaster.http_api.patience import PatientProtocol  # noqa: PLC0415

    return uvicorn.Config(
        "trainmaster.api:serving",
        factory=True,
        workers=workers,
        http=partial(PatientProtocol, patience=settings.http_slow_seconds),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        forwarded_allow_ips=settings.http_trusted_proxies,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_worker_healthcheck=_WORKER_ANSWERS_WITHIN,
    )


def _run(config: uvicorn.Config, listening: socket.socket) -> int:
    import uvicorn  # noqa: PLC0415
    from uvicorn.supervisors import Multiprocess  # noqa: PLC0415

    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # uvicorn raises what ended it again, once it has ended as it was told
        signal.signal(number, lambda *_: None)
    if config.workers > 1:
        Multiprocess(config, sockets=[listening]).run()
        return 0
    server = uvicorn.Server(config)
    server.run(sockets=[listening])
    return 0 if server.started else 1
