"""A web server on loopback that misbehaves as it is told, over TLS or not."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Answer = Callable[[BaseHTTPRequestHandler], None]


class WebServer:
    """Answers each path by the function in `answers`; `seen` are the requests as (host, path with query, range)."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: dict[str, Answer] = {}
        self.seen: list[tuple[str, str, str]] = []

    def url(self, path: str, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


def body(content: bytes, **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(content)

    return answer


def ranged(content: bytes) -> Answer:
    """All of it, or from where a range begins to where it ends."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        start, _, last = request.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        part = content[int(start) : int(last) + 1 if last else None]
        request.send_response(206 if "Range" in request.headers else 200)
        if "Range" in request.headers:
            end = int(start) + len(part) - 1
            request.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
        request.send_header("Content-Length", str(len(part)))
        request.send_header("ETag", '"tag"')
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(part)

    return answer


def redirect(to: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", to)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def status(code: int) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def in_turn(*answers: Answer) -> Answer:
    """The next one at each call, and the last for ever."""
    left = list(answers)

    def answer(request: BaseHTTPRequestHandler) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(request)

    return answer


def cut_after(content: bytes, count: int, **headers: str) -> Answer:
    """Promises the whole content, or the range asked for with the same `If-Range`; ends the connection after `count` bytes."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        begin, wanted = 0, request.headers.get("Range", "")
        if wanted and headers.get("ETag") == request.headers["If-Range"]:
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
        request.send_response(206 if begin else 200)
        if begin:
            request.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        for name, value in {"Content-Length": str(len(content) - begin), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content[begin : begin + count])
        request.close_connection = True

    return answer


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[WebServer]:
    """With a certificate (and key) in a PEM file: https."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.seen.append((self.headers["Host"], self.path, self.headers.get("Range", "")))
            web.answers.get(self.path.partition("?")[0], status(404))(self)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has there
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up in the middle, as one does that has read too much, is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    web = WebServer(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def certificate_for(host: str, to: Path, root: Path | None = None) -> None:
    """A certificate and its key, in one PEM file; self-signed, or by the authority whose certificate is written to `root`."""
    try:
        alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        alternative = x509.DNSName(host)
    key = ec.generate_private_key(ec.SECP256R1())
    described = _described(host, key).add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
    if root is None:
        signed = (
            described.issuer_name(_name(host)).add_extension(_authority(True), critical=True).sign(key, hashes.SHA256())
        )
    else:
        above = ec.generate_private_key(ec.SECP256R1())
        authority = _described("root", above).issuer_name(_name("root")).add_extension(_authority(True), critical=True)
        root.write_bytes(authority.sign(above, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        signed = (
            described.issuer_name(_name("root"))
            .add_extension(_authority(False), critical=True)
            .sign(above, hashes.SHA256())
        )
    pem = serialization.Encoding.PEM
    to.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(pem)
    )


def _described(subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


def _authority(is_one: bool) -> x509.BasicConstraints:
    return x509.BasicConstraints(ca=is_one, path_length=None)
