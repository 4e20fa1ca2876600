"""The webhook of an operator as the API server is told of it, and certificates for it: good ones, and an old one."""

import base64
import datetime as dt
import ipaddress
import json
import socket
import ssl
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from paddock_local.certificates import Authority, KeyPair
from paddock_local.paths import find_checkout

from faults.cluster.process import Scene

FILE = Path("charts", "paddock", "files", "webhook.yaml")
NAME = "paddock-operator"
KIND = "validatingwebhookconfiguration"
LOOPBACK = "127.0.0.1"


class Webhook:
    """What guards LlamaDeployments on a scene's API server: the chart's own configuration, on this operator's port."""

    def __init__(self, made: Scene, *, port: int) -> None:
        self._made = made
        self._port = port
        self.bundle = Authority(made.folder, "ca").bundle

    def install(self, *, host: str = LOOPBACK, port: int | None = None) -> None:
        """Tell the API server where to ask. By another host it makes connections anew."""
        document = yaml.safe_load((find_checkout() / FILE).read_text())
        bundle = base64.b64encode(self.bundle).decode()
        for hook in document["webhooks"]:
            path = hook["clientConfig"]["service"]["path"]
            hook["clientConfig"] = {"url": f"https://{host}:{port or self._port}{path}", "caBundle": bundle}
        done = self._made.api.apply(document)
        assert done.returncode == 0, done.stderr

    def remove(self) -> None:
        """Nobody is asked any more."""
        self._made.api.kubectl("delete", KIND, NAME, "--ignore-not-found")

    def says(self, document: dict[str, Any]) -> str:
        """What comes of creating an object, without creating it: empty where it would be stored."""
        done = self._made.api.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(document))
        return "" if done.returncode == 0 else done.stderr

    def shown(self) -> int:
        """The serial number of the certificate that a new connection sees."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection((LOOPBACK, self._port), timeout=20) as plain,
            context.wrap_socket(plain) as secure,
        ):
            found = secure.getpeercert(binary_form=True)
        assert found is not None
        return x509.load_der_x509_certificate(found).serial_number

    def serve(self, pair: KeyPair) -> None:
        """Put another pair in the place of the operator's, one file after the other, and wait until it is shown."""
        own, serial = self._made.pair, serial_of(pair)
        for source, target in ((pair.key, own.key), (pair.certificate, own.certificate)):
            # Never half a file.
            new = target.with_name(f"{target.name}.new")
            new.write_bytes(source.read_bytes())
            new.replace(target)
        self._made.until("the other certificate", lambda: self.shown() == serial)


def serial_of(pair: KeyPair) -> int:
    """Of a certificate."""
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes()).serial_number


def issued(folder: Path, name: str) -> KeyPair:
    """A new pair of the authority in this folder."""
    return Authority(folder, "ca").issue(name, name="webhook", hosts=(LOOPBACK, "localhost"))


def expired(folder: Path) -> KeyPair:
    """A pair of the same authority that was good until an hour ago."""
    authority = Authority(folder, "ca").pair
    issuer = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
    signer = serialization.load_pem_private_key(authority.key.read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    names = [x509.IPAddress(ipaddress.ip_address(LOOPBACK)), x509.DNSName("localhost")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "webhook")]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=2))
        .not_valid_after(now - dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(signer, hashes.SHA256())
    )
    pair = KeyPair(folder / "expired.crt", folder / "expired.key")
    pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pair.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pair
