"""A provider on loopback that keeps its connections open, and remembers who came by which."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOOPBACK = "127.0.0.1"


class Heard(msgspec.Struct):
    """One request; `connection` counts from 0."""

    connection: int
    head: str
    body: bytes


class KeepingProvider:
    """Gives `answers` one after the other, the last one again and again, and closes only connections that it says."""

    def __init__(self, answers: Sequence[bytes]) -> None:
        self._answers = answers
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self.heard: list[Heard] = []
        self.closed = asyncio.Event()
        """Somebody else closed one of the connections."""
        self.url = ""

    async def open(self, tls: ssl.SSLContext | None) -> None:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0, ssl=tls)
        self.url = f"{'https' if tls else 'http'}://{LOOPBACK}:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        assert self._server
        self._server.close()
        self.hang_up()

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()

    def say(self, data: bytes) -> None:
        """On the newest connection, asked or not."""
        self._writers[-1].write(data)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self._writers)
        self._writers.append(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(head.lower().partition("content-length:")[2].partition("\r\n")[0])
                self.heard.append(Heard(number, head, await reader.readexactly(length)))
                writer.write(self._answers[min(len(self.heard), len(self._answers)) - 1])
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            self.closed.set()
        writer.close()


@asynccontextmanager
async def keeping_provider(*answers: bytes, tls: ssl.SSLContext | None = None) -> AsyncGenerator[KeepingProvider]:
    provider = KeepingProvider(answers)
    await provider.open(tls)
    try:
        yield provider
    finally:
        await provider.close()


def certified(folder: Path, *, host: str = LOOPBACK) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """For a server that is `host`, and for a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "provider")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    file = folder / "provider.pem"
    file.write_bytes(
        certificate
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    client = ssl.create_default_context(cadata=certificate.decode())
    return server, client
