"""`trainmaster embedded`: AWS on this machine until Ctrl-C."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from trainmaster.embedded.seaweedfs import NotHealthyError, SeaweedFS
from trainmaster.embedded.state import AlreadyServedError, State

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_HEALTHY_WITHIN = 60.0


def add_parser(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "embedded",
        help="AWS on this machine: S3, SageMaker that trains and serves, IAM, logs and metrics",
        description="AWS on this machine, on loopback only, until Ctrl-C. Jobs really train, endpoints really serve.",
    )
    parser.add_argument("--state", type=Path, default=Path(".trainmaster"), help="folder for everything it keeps")
    parser.add_argument(
        "--port", type=int, default=0, help="port of all services but S3 (default: last time's or a free one)"
    )
    parser.add_argument("--s3-port", type=int, default=0, help="port of S3 (default: last time's or a free one)")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument(
        "--print-env", action="store_true", help="print only `export NAME=value` lines on stdout, for a shell to eval"
    )
    parser.add_argument(
        "--stop-grace", type=float, default=120.0, metavar="SECONDS",
        help="between SIGTERM and SIGKILL when a training job is stopped (default: AWS's 120)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM (exit code 0); 1 when it cannot start or S3 ends."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    stdout, sys.stdout = sys.stdout, sys.stderr  # moto prints
    try:
        state = State(args.state)
        with state.claimed():
            _serve(args, state, stdout)
    except KeyboardInterrupt:
        return 0
    except (AlreadyServedError, NotHealthyError, OSError) as error:
        print(f"trainmaster embedded: {error}", file=sys.stderr)
        return 1
    return 0


def _serve(args: argparse.Namespace, state: State, stdout: TextIO) -> None:
    deadline = time.monotonic() + _HEALTHY_WITHIN
    credentials = state.credentials()
    seaweed = SeaweedFS(state, credentials, {"s3": args.s3_port} if args.s3_port else {})
    try:
        # Not at the top: it takes a second, which SeaweedFS needs for starting anyway.
        from trainmaster.embedded.host import Host  # noqa: PLC0415

        host = Host(state, credentials, seaweed.url, port=args.port, region=args.region, stop_grace=args.stop_grace)
        try:
            seaweed.wait_until_healthy(deadline)
            host.recover(deadline)
            environment = host.environment()
            state.announce(environment)
            print(
                f"Embedded AWS at {environment['AWS_ENDPOINT_URL']}, S3 at {seaweed.url}, state in {args.state}.",
                file=sys.stderr,
            )
            print(host.isolation, file=sys.stderr)
            if args.print_env:
                for name, value in environment.items():
                    print(f"export {name}={shlex.quote(value)}", file=stdout)
                stdout.flush()
            else:
                print('Stop it with Ctrl-C. A shell uses it after: eval "$(…)"', file=sys.stderr)
            while True:
                seaweed.check()
                time.sleep(0.5)
        finally:
            host.close()
    finally:
        seaweed.stop()
