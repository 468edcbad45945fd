"""`trainmaster embedded`: AWS on this machine until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from trainmaster.embedded.seaweedfs import NotHealthyError, SeaweedFS
from trainmaster.embedded.state import AlreadyServedError, PortTakenError, State

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_ABOUT = "AWS on this machine, on loopback only, until Ctrl-C. Jobs really train, endpoints really serve."
_HEALTHY_WITHIN = 60.0


def main() -> int:
    """The command on its own: what starts it for itself need not load all others."""
    parser = argparse.ArgumentParser(prog="trainmaster embedded", description=_ABOUT)
    _add_options(parser)
    return run(parser.parse_args())


def add_parser(commands: Subparsers) -> None:
    help_line = "AWS on this machine: S3, SageMaker that trains and serves, IAM, logs, metrics"
    parser = commands.add_parser("embedded", help=help_line, description=_ABOUT)
    _add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM (exit code 0); 1 when it cannot start or S3 ends."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _forget_the_users_aws()
    stdout, sys.stdout = sys.stdout, sys.stderr  # moto prints
    state = State(args.state)
    try:
        with suppress(KeyboardInterrupt), state.claimed():
            _serve(args, state, stdout)
    except (AlreadyServedError, NotHealthyError, PortTakenError) as error:
        print(f"trainmaster embedded: {error}", file=sys.stderr)
        return 1
    return 0


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", type=Path, default=Path(".trainmaster"), help="folder for everything it keeps")
    parser.add_argument("--port", type=_port, help="of all services but S3 (default: last time's, or a free one)")
    parser.add_argument("--s3-port", type=_port, help="of S3 (default: last time's, or a free one)")
    parser.add_argument("--supabase-port", type=_port, help="of Supabase (default: last time's, or a free one)")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument(
        "--print-env", action="store_true", help="print `export NAME=value` lines, nothing else, on stdout"
    )
    parser.add_argument(
        "--stop-grace", type=float, default=120.0, metavar="SECONDS",
        help="between SIGTERM and SIGKILL when a training job is stopped (default: AWS's 120)",
    )  # fmt: skip
    parser.add_argument(
        "--jupyterlab", choices=("real", "none"), default="real",
        help="whether a JupyterLab app of Studio is a JupyterLab here, or runs in name only (default: real)",
    )  # fmt: skip


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {text!r}")
    return int(text)


def _forget_the_users_aws() -> None:
    """Neither profiles nor endpoints nor proxies meant for the real AWS may reach our own calls, or those of jobs."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost"]))


def _serve(args: argparse.Namespace, state: State, stdout: TextIO) -> None:
    deadline = time.monotonic() + _HEALTHY_WITHIN
    credentials = state.credentials()
    with ExitStack() as running:
        seaweed = SeaweedFS(state, credentials, args.s3_port)
        running.callback(seaweed.stop)
        # Not at the top: it takes a second or two, which SeaweedFS needs to start anyway.
        from trainmaster.embedded.host import Host  # noqa: PLC0415

        host = Host(
            state, credentials, seaweed.url, port=args.port, supabase_port=args.supabase_port, region=args.region,
            stop_grace=args.stop_grace, real_labs=args.jupyterlab == "real",
        )  # fmt: skip
        running.callback(host.close)
        seaweed.wait_until_healthy(deadline)
        host.recover(deadline)
        environment = host.environment()
        state.announce(environment)
        print(
            f"Embedded AWS at {environment['AWS_ENDPOINT_URL']}, S3 at {seaweed.url}, Supabase at {host.supabase_url}.",
            file=sys.stderr,
        )
        print(f"{host.isolation} State is kept in {args.state}. Ctrl-C stops everything.", file=sys.stderr)
        if args.print_env:
            for name, value in environment.items():
                print(f"export {name}={shlex.quote(value)}", file=stdout)
            stdout.flush()
        while True:
            seaweed.check()
            time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
