import datetime as dt

import yaml
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from paddock_local import certificates
from paddock_local.kubeconfig import kubeconfig_for
from paddock_local.paths import StackPaths
from paddock_local.ports import Ports


def read(pair):
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes())


def test_a_client_has_its_name_and_groups_and_is_no_server(tmp_path):
    authority = certificates.Authority(tmp_path, "ca")
    certificate = read(authority.issue("c", name="acme", groups=("a", "b")))
    names = certificate.subject.get_attributes_for_oid
    assert [entry.value for entry in names(NameOID.COMMON_NAME)] == ["acme"]
    assert {entry.value for entry in names(NameOID.ORGANIZATION_NAME)} == {"a", "b"}
    uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate.verify_directly_issued_by(read(authority.pair))


def test_a_server_is_valid_for_its_hosts_now(tmp_path):
    made = certificates.prepare(tmp_path)
    certificate = read(made.apiserver)
    hosts = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "127.0.0.1" in [str(address) for address in hosts.get_values_for_type(x509.IPAddress)]
    now = dt.datetime.now(dt.UTC)
    assert certificate.not_valid_before_utc < now < certificate.not_valid_after_utc


def test_etcd_trusts_no_certificate_of_kubernetes(tmp_path):
    made = certificates.prepare(tmp_path)
    assert read(made.apiserver_to_etcd).issuer == read(made.etcd_authority.pair).subject
    assert read(made.etcd_authority.pair).subject != read(made.authority.pair).subject


def test_preparing_again_changes_nothing(tmp_path):
    certificates.prepare(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.rglob("*.*")}
    certificates.prepare(tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.rglob("*.*")} == before


def test_a_lost_authority_renews_what_it_signed(tmp_path):
    before = certificates.prepare(tmp_path)
    old = read(before.apiserver)
    before.authority.pair.key.unlink()
    after = certificates.prepare(tmp_path)
    assert read(after.apiserver) != old
    read(after.apiserver).verify_directly_issued_by(read(after.authority.pair))


def test_keys_are_readable_by_nobody_else(tmp_path):
    certificates.prepare(tmp_path)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.glob("*.key")} == {0o600}


def test_a_kubeconfig_stands_alone(tmp_path):
    paths = StackPaths(checkout=tmp_path, name="t")
    paths.create()
    file = kubeconfig_for(paths=paths, ports=Ports(7400), user="system:acme")
    config = yaml.safe_load(file.read_text())
    assert file.name == "system-acme.yaml"
    assert file.stat().st_mode & 0o777 == 0o600
    assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:7402"
    assert set(config["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}
