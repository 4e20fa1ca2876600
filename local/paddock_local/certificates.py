"""Certificates of a stack: two authorities (Kubernetes, etcd), what the parts show each other, and the users."""

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAYS = 3650
# Certificates are made anew when less than this is left.
SPARE_DAYS = 30
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its key, as files in PEM."""

    certificate: Path
    key: Path

    def exists(self) -> bool:
        """Whether both are there and will be valid for a while."""
        if not (self.certificate.is_file() and self.key.is_file()):
            return False
        certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        left = certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)
        return left > dt.timedelta(days=SPARE_DAYS)


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only we may read."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_bytes(data)


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _name(common: str, groups: tuple[str, ...]) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # An hour early: the clock of a virtual machine may have been set back since.
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=authority, crl_sign=authority, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip


class Authority:
    """A certificate authority in a folder, made when it is not there."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self.pair = KeyPair(folder / f"{name}.crt", folder / f"{name}.key")
        self.renewed = not self.pair.exists()
        if self.renewed:
            self._create(name)
        self._certificate = x509.load_pem_x509_certificate(self.pair.certificate.read_bytes())
        key = serialization.load_pem_private_key(self.pair.key.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - we wrote it
        self._key = key

    def _create(self, name: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(f"paddock-{name}", ())
        certificate = (
            _builder(subject, subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        write_private(self.pair.key, _pem(key))
        self.pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    @property
    def bundle(self) -> bytes:
        """The authority's certificate in PEM."""
        return self.pair.certificate.read_bytes()

    def issue(self, file: str, *, name: str, groups: tuple[str, ...] = (), hosts: tuple[str, ...] = ()) -> KeyPair:
        """A certificate for client `name` in `groups`, also good for a server at `hosts` when some are given."""
        pair = KeyPair(self._folder / f"{file}.crt", self._folder / f"{file}.key")
        if pair.exists() and not self.renewed:
            return pair
        key = ec.generate_private_key(ec.SECP256R1())
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if hosts else [])]
        builder = (
            _builder(_name(name, groups), self._certificate.subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
            )
        certificate = builder.sign(self._key, hashes.SHA256())
        write_private(pair.key, _pem(key))
        pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return pair


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


@dataclass(frozen=True)
class Certificates:
    """All key pairs of a stack; `service_accounts` is the key that signs service account tokens."""

    authority: Authority
    etcd_authority: Authority
    etcd: KeyPair
    apiserver: KeyPair
    apiserver_to_etcd: KeyPair
    apiserver_to_kubelet: KeyPair
    kubelet: KeyPair
    webhook: KeyPair
    lws: KeyPair
    service_accounts: Path


def prepare(folder: Path) -> Certificates:
    """Make what is not there yet."""
    authority, etcd_authority = Authority(folder, "ca"), Authority(folder, "etcd-ca")
    here = ("localhost", LOOPBACK)
    # LeaderWorkerSet's controller wants a folder in which they are called tls.crt and tls.key.
    (folder / "lws").mkdir(exist_ok=True)
    service_accounts = folder / "service-accounts.key"
    if not service_accounts.is_file():
        write_private(service_accounts, _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)))
    return Certificates(
        authority=authority,
        etcd_authority=etcd_authority,
        etcd=etcd_authority.issue("etcd", name="etcd", hosts=here),
        apiserver_to_etcd=etcd_authority.issue("apiserver-etcd", name="kube-apiserver"),
        apiserver=authority.issue(
            "apiserver", name="kube-apiserver", hosts=(*here, "kubernetes", "kubernetes.default.svc")
        ),
        apiserver_to_kubelet=authority.issue("apiserver-kubelet", name="kube-apiserver", groups=("system:masters",)),
        kubelet=authority.issue("kubelet", name="system:node:localhost", groups=("system:nodes",), hosts=here),
        webhook=authority.issue("operator-webhook", name="paddock-operator-webhook", hosts=here),
        lws=authority.issue("lws/tls", name="lws-webhook", hosts=here),
        service_accounts=service_accounts,
    )
