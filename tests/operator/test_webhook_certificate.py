"""The webhook's certificate is replaced while it serves: new connections see the new one, and none fails."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from paddock_local.certificates import Authority, KeyPair
from paddock_operator.certificates import ServedCertificate


class Port:
    """A TLS port, and the serial number of what it shows."""

    def __init__(self, pair: KeyPair) -> None:
        self.served = ServedCertificate(certificate=pair.certificate, key=pair.key)
        self.number = 0

    async def shown(self) -> int:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        _, writer = await asyncio.open_connection("127.0.0.1", self.number, ssl=context)
        found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
        return x509.load_der_x509_certificate(found).serial_number


def issue(folder: Path) -> KeyPair:
    folder.mkdir()
    return Authority(folder, "ca").issue("webhook", name="webhook", hosts=("localhost",))


def serial(pair: KeyPair) -> int:
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes()).serial_number


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[Port]:
    async def greet(_: Any, writer: asyncio.StreamWriter) -> None:
        writer.close()

    port = Port(issue(tmp_path / "old"))
    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=port.served.context)
    port.number = server.sockets[0].getsockname()[1]
    async with server:
        yield port


async def test_a_new_pair_is_shown_and_half_of_one_is_not(port: Port, tmp_path: Path) -> None:
    old, new = KeyPair(*(tmp_path / "old" / f"webhook.{end}" for end in ("crt", "key"))), issue(tmp_path / "new")
    before = serial(old)
    assert await port.shown() == before
    old.certificate.write_bytes(new.certificate.read_bytes())
    port.served.look()
    assert await port.shown() == before, "the key is still the old one"
    old.key.write_bytes(new.key.read_bytes())
    port.served.look()
    assert await port.shown() == serial(new) != before
    old.key.unlink()
    port.served.look()
    assert await port.shown() == serial(new)
