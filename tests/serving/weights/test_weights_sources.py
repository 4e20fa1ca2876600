"""Each kind of source against a server, or a folder, of its kind."""

import base64
import hashlib
import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

import httpx
import pytest
from paddock_serving.errors import WeightsError, WeightsSourceBusyError
from paddock_serving.weights.layout import Stored
from paddock_serving.weights.sigv4 import SigV4
from paddock_serving.weights.sources.base import Checkpoint, open_source
from paddock_serving.weights.store import Store

FILES = {
    "config.json": b"{}",
    "model-00001-of-00002.safetensors": b"weights " * 40_000,
    "model-00002-of-00002.safetensors": b"more " * 30_000,
    "tokenizer.json": b"[]",
}
SUMS = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in FILES.items()).encode()


def obtain(root: Path, checkpoint: Checkpoint, settings: Any) -> Stored:
    with closing(open_source(checkpoint=checkpoint, settings=settings)) as source:
        return Store(root=root, connections=3).obtain(checkpoint=checkpoint, source=source)


def content(stored: Stored) -> dict[str, bytes]:
    return {name: (stored.folder / name).read_bytes() for name in stored.files}


# Plain HTTP


def test_files_below_a_url_are_those_of_its_list_of_digests(
    server: Any, checkpoint: Any, settings: Any, tmp_path: Path
) -> None:
    server.files = {f"/m/{name}": data for name, data in FILES.items()} | {"/m/SHA256SUMS": SUMS}
    made = checkpoint({"kind": "http", "url": f"{server.url}/m/"})
    assert content(obtain(tmp_path, made, settings())) == FILES


def test_a_list_of_digests_that_is_none_is_refused(server: Any, checkpoint: Any, settings: Any, tmp_path: Path) -> None:
    server.files = {"/m/SHA256SUMS": b"<html>"}
    with pytest.raises(WeightsError, match="SHA256SUMS, line 1"):
        obtain(tmp_path, checkpoint({"kind": "http", "url": f"{server.url}/m"}), settings())


@pytest.mark.parametrize("ranges", [True, False])
def test_broken_connections_are_gone_on_from_where_they_broke(
    ranges: bool, server: Any, checkpoint: Any, settings: Any, tmp_path: Path
) -> None:
    name = "model-00001-of-00002.safetensors"
    one = {name: FILES[name]}
    server.files, server.ranges = {f"/m/{name}": FILES[name]}, ranges
    server.cuts = [100_000, 150_000 if ranges else 250_000]
    made = checkpoint({"kind": "http", "url": f"{server.url}/m"}, files=one)
    assert content(obtain(tmp_path, made, settings())) == one
    asked = [headers.get("range", "") for _, headers in server.seen]
    assert asked == ["", "bytes=100000-", "bytes=250000-"]
    if ranges:
        assert server.sent[f"/m/{name}"] == len(FILES[name]), "no byte came twice"


def test_a_server_that_never_gets_on_ends_the_try(
    server: Any, checkpoint: Any, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paddock_serving.weights.web.Web._pause", _unhurried(), raising=True)
    server.files, server.cuts = {"/m/config.json": FILES["config.json"] * 50}, [0] * 50
    made = checkpoint({"kind": "http", "url": f"{server.url}/m"}, files={"config.json": FILES["config.json"] * 50})
    with pytest.raises(WeightsError, match=r"config\.json: connection to .* broke.*it resumes when run again"):
        obtain(tmp_path, made, settings())
    assert server.asked("/m/config.json") == 6


def _unhurried() -> Callable[..., None]:
    """The same pauses, without their length."""
    from dataclasses import replace

    from paddock_serving.weights.web import Web

    pause = Web._pause

    def quick(self: Web, *arguments: Any, **named: Any) -> None:
        pause(replace(self, sleep=lambda _seconds: None), *arguments, **named)

    return quick


def test_a_busy_server_is_left_alone_for_as_long_as_it_asks(
    server: Any, checkpoint: Any, settings: Any, tmp_path: Path
) -> None:
    server.files, server.busy = {f"/m/{name}": data for name, data in FILES.items()}, ["1"]
    made = checkpoint({"kind": "http", "url": f"{server.url}/m"}, files=FILES)
    begun = datetime.now(UTC)
    assert content(obtain(tmp_path, made, settings())) == FILES
    assert (datetime.now(UTC) - begun).total_seconds() >= 1


@pytest.mark.parametrize("told", ["3600", "Wed, 01 Jan 2098 00:00:00 GMT"])
def test_a_server_that_wants_a_long_pause_ends_the_try_with_its_length(
    told: str, server: Any, checkpoint: Any, settings: Any, tmp_path: Path
) -> None:
    server.files, server.busy = {"/m/config.json": b"{}"}, [told]
    made = checkpoint({"kind": "http", "url": f"{server.url}/m"}, files={"config.json": b"{}"})
    with pytest.raises(WeightsSourceBusyError) as caught:
        obtain(tmp_path, made, settings())
    assert caught.value.seconds >= 3600
    assert server.asked("/m/config.json") == 1


# The hub, and mirrors of it


def hub(server: Any, *, token: str = "") -> None:
    entries = [
        {"rfilename": name, "size": len(data), "lfs": {"sha256": hashlib.sha256(data).hexdigest()}}
        for name, data in FILES.items()
    ]
    listing = json.dumps({"sha": "c0" * 20, "siblings": entries}).encode()
    server.files = {f"/org/name/resolve/{'c0' * 20}/{name}": data for name, data in FILES.items()}

    def guard(_method: str, target: str, headers: dict[str, str]) -> Any:
        if token and headers.get("authorization") != f"Bearer {token}":
            return 401, {}, b""
        return (200, {}, listing) if target == "/api/models/org/name/revision/main?blobs=true" else None

    server.guard = guard


def test_a_mirror_of_the_hub_is_asked_instead_and_without_the_platforms_token(
    server: Any, checkpoint: Any, settings: Any, tmp_path: Path
) -> None:
    hub(server)
    made = checkpoint({"kind": "huggingface", "repository": "org/name", "endpoint": server.url})
    assert content(obtain(tmp_path, made, settings(hub_token="hf_secret"))) == FILES
    assert not [headers for _, headers in server.seen if "authorization" in headers]


def test_a_mirror_that_the_platform_chose_gets_its_token(
    server: Any, checkpoint: Any, settings: Any, tmp_path: Path
) -> None:
    hub(server, token="hf_secret")
    made = checkpoint({"kind": "huggingface", "repository": "org/name"})
    with pytest.raises(WeightsError, match="HF_TOKEN"):
        obtain(tmp_path, made, settings(hub_url=server.url))
    assert content(obtain(tmp_path, made, settings(hub_url=server.url, hub_token="hf_secret"))) == FILES


def test_a_token_does_not_follow_a_redirect_to_another_host(
    server: Any, checkpoint: Any, settings: Any, tmp_path: Path
) -> None:
    data = FILES["config.json"]
    server.files = {"/cdn": data}
    elsewhere = server.url.replace("127.0.0.1", "localhost")

    def guard(_method: str, target: str, _headers: dict[str, str]) -> Any:
        return None if target == "/cdn" else (302, {"Location": f"{elsewhere}/cdn"}, b"")

    server.guard = guard
    made = checkpoint(
        {"kind": "huggingface", "repository": "org/name"}, files={"config.json": data}, revision="c0" * 20
    )
    assert content(obtain(tmp_path, made, settings(hub_url=server.url, hub_token="hf_secret"))) == {"config.json": data}
    assert [(path, headers.get("authorization")) for path, headers in server.seen] == [
        (f"/org/name/resolve/{'c0' * 20}/config.json", "Bearer hf_secret"),
        ("/cdn", None),
    ]


def test_what_is_no_hub_says_so(server: Any, checkpoint: Any, settings: Any, tmp_path: Path) -> None:
    server.guard = lambda *_: (200, {}, b"<html>")
    with pytest.raises(WeightsError, match="is it a model hub"):
        obtain(tmp_path, checkpoint({"kind": "huggingface", "repository": "a/b"}), settings(hub_url=server.url))


# S3


@pytest.mark.parametrize(
    ("url", "token", "signature"),
    [
        (
            "https://s3.eu-west-1.amazonaws.com/b/a%20b/c%2Bd.safetensors",
            "",
            "5a4666441cd8369f42b654a4a41fb2cd217ea6b3e8bd3debf6c51804e743eb8c",
        ),
        (
            "http://127.0.0.1:9000/bucket?delimiter=%2F&list-type=2&prefix=m%20x%2F",
            "tok/en==",
            "2c9448ecc09bec80fcd2b2f4be11f555a4f1d420ed72b5262d6e2557ec62d83a",
        ),
        (
            "http://h/b/%C3%A9?continuation-token=a%2Bb%3D%3D&list-type=2&prefix=",
            "",
            "1c2dbd571dc07e422098bb98d401fdc8eef5159e8a14428e62610964c4a981e8",
        ),
    ],
)
def test_signatures_are_those_of_the_reference(url: str, token: str, signature: str) -> None:
    """Computed once with botocore 1.44.5 (S3SigV4Auth)."""
    now = datetime(2026, 11, 22, 10, tzinfo=UTC)
    auth = SigV4(access_key_id="AK", secret_access_key="SK", session_token=token, region="eu-west-1", now=lambda: now)
    signed = next(auth.auth_flow(httpx.Request("GET", url)))
    assert signed.headers["Authorization"].endswith(f"Signature={signature}")


@pytest.mark.parametrize(
    ("query", "signature"),
    [
        ("lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_signatures_are_those_that_are_published(query: str, signature: str) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html"""
    auth = SigV4(
        access_key_id="AKIAIOSFODNN7EXAMPLE",
        secret_access_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        region="us-east-1",
        now=lambda: datetime(2013, 5, 24, tzinfo=UTC),
    )
    signed = next(auth.auth_flow(httpx.Request("GET", f"https://examplebucket.s3.amazonaws.com/?{query}")))
    assert signed.headers["Authorization"].endswith(f"Signature={signature}")


def bucket(server: Any, objects: dict[str, bytes], *, secret: str = "") -> None:
    """An S3 server with one bucket `bkt`, two objects a page; with a secret it checks each request's signature."""
    server.files = {f"/bkt/{key}": data for key, data in objects.items()}

    def guard(method: str, target: str, headers: dict[str, str]) -> Any:
        if secret and not signed(method, target, headers, secret, server.url):
            return 403, {}, b"<Error/>"
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if query.get("list-type") != "2":
            return None
        assert query["delimiter"] == "/"
        prefix = query["prefix"]
        keys = sorted(key for key in objects if key.startswith(prefix) and "/" not in key[len(prefix) :])
        begin = int(query.get("continuation-token", "0"))
        return 200, {}, listing(objects, keys[begin : begin + 2], begin + 2 if begin + 2 < len(keys) else None)

    server.guard = guard


def listing(objects: dict[str, bytes], keys: list[str], following: int | None) -> bytes:
    items = "".join(
        f"<Contents><Key>{escape(key)}</Key><ETag>{escape(tag(objects[key]))}</ETag>"
        f"<Size>{len(objects[key])}</Size></Contents>"
        for key in keys
    )
    more = "" if following is None else f"<NextContinuationToken>{following}</NextContinuationToken>"
    text = f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{items}{more}</ListBucketResult>'
    return text.encode()


def tag(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:16]}"'


def signed(method: str, target: str, headers: dict[str, str], secret: str, url: str) -> bool:
    """True if the request says the signature that it must have by the reference's rules."""
    moment = headers.get("x-amz-date", "")
    if not moment:
        return False
    now = datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    auth = SigV4(access_key_id="AK", secret_access_key=secret, region="us-east-1", now=lambda: now)
    again = next(auth.auth_flow(httpx.Request(method, url + target)))
    return again.headers["Authorization"] == headers.get("authorization")


def test_a_bucket_is_listed_page_by_page_and_read_with_signed_requests(
    server: Any, checkpoint: Any, settings: Any, tmp_path: Path
) -> None:
    objects = {f"llama/v 1+2/{name}": data for name, data in FILES.items()}
    bucket(server, {**objects, "llama/v 1+2/original/x.pth": b"x", "llama/other.json": b"x"}, secret="SK")
    made = checkpoint({"kind": "s3", "bucket": "bkt", "prefix": "llama/v 1+2", "endpoint": server.url})
    with pytest.raises(WeightsError, match="a key that may read the bucket"):
        obtain(tmp_path, made, settings())
    with pytest.raises(WeightsError, match="a key that may read the bucket"):
        obtain(tmp_path, made, settings(s3_access_key_id="AK", s3_secret_access_key="wrong"))
    right = settings(s3_access_key_id="AK", s3_secret_access_key="SK")
    assert content(obtain(tmp_path, made, right)) == FILES
    assert "SK" not in json.dumps(right.model_dump(mode="json"))


def test_objects_are_held_to_the_digests_beside_them(
    server: Any, checkpoint: Any, settings: Any, tmp_path: Path
) -> None:
    objects = {f"m/{name}": data for name, data in FILES.items()} | {"m/SHA256SUMS": SUMS}
    made = checkpoint({"kind": "s3", "bucket": "bkt", "prefix": "m", "endpoint": server.url})
    bucket(server, objects | {"m/config.json": b"[]"})
    with pytest.raises(WeightsError, match=r"config\.json has SHA-256"):
        obtain(tmp_path, made, settings())
    bucket(server, {key: data for key, data in objects.items() if key != "m/config.json"})
    with pytest.raises(WeightsError, match=r"SHA256SUMS names config\.json"):
        obtain(tmp_path, made, settings())
    bucket(server, objects)
    assert content(obtain(tmp_path, made, settings())) == FILES


def test_an_object_that_changes_under_the_hand_is_not_mixed(
    server: Any, checkpoint: Any, settings: Any, tmp_path: Path
) -> None:
    bucket(server, {"m/model.gguf": b"old" * 1000})
    listed = server.guard
    made = checkpoint({"kind": "s3", "bucket": "bkt", "prefix": "m", "endpoint": server.url})

    def changes(method: str, target: str, headers: dict[str, str]) -> Any:
        answer = listed(method, target, headers)
        server.files = {"/bkt/m/model.gguf": b"new" * 1000}
        return answer

    server.guard = changes
    with pytest.raises(WeightsError, match="changed while it was fetched"):
        obtain(tmp_path, made, settings())


@pytest.mark.parametrize("source", [{"bucket": "a/../b"}, {"bucket": "bb", "region": "x.evil.example/"}])
def test_a_bucket_or_region_that_is_none_is_not_asked_for(
    source: dict[str, str], checkpoint: Any, settings: Any
) -> None:
    with pytest.raises(WeightsError, match="no bucket in a region"):
        open_source(checkpoint=checkpoint({"kind": "s3", **source}), settings=settings())


def test_a_listing_with_entities_is_not_read(server: Any, checkpoint: Any, settings: Any, tmp_path: Path) -> None:
    server.guard = lambda *_: (200, {}, b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>')
    made = checkpoint({"kind": "s3", "bucket": "bkt", "endpoint": server.url})
    with pytest.raises(WeightsError, match="no listing"):
        obtain(tmp_path, made, settings())


# OCI registries

TITLE = "org.opencontainers.image.title"


def registry(server: Any, *, named: dict[str, str] | None = None, user: str = "", realm: str = "") -> str:
    """A registry with one artifact of `FILES`; with a user it hands out tokens to that one alone. Its digest."""
    layers = [
        {
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": f"sha256:{hashlib.sha256(data).hexdigest()}",
            "size": len(data),
            "annotations": {TITLE: name} if named is None else named,
        }
        for name, data in FILES.items()
    ]
    manifest = json.dumps({"schemaVersion": 2, "layers": layers}).encode()
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    blobs = {f"/v2/models/llama/blobs/sha256:{hashlib.sha256(data).hexdigest()}": data for data in FILES.values()}
    server.files = {f"/v2/models/llama/manifests/{name}": manifest for name in ("v1", digest)} | blobs
    basic = "Basic " + base64.b64encode(f"{user}:pw".encode()).decode()

    def guard(_method: str, target: str, headers: dict[str, str]) -> Any:
        if target.startswith("/token"):
            assert parse_qs(urlsplit(target).query) == {"service": ["reg"], "scope": ["repository:models/llama:pull"]}
            allowed = headers.get("authorization") == basic
            return (200, {}, b'{"token": "t"}') if allowed else (401, {}, b"")
        if not user or headers.get("authorization") == "Bearer t":
            return None
        asked = f'Bearer realm="{realm or server.url}/token",service="reg",scope="repository:models/llama:pull"'
        return 401, {"WWW-Authenticate": asked}, b""

    server.guard = guard
    return digest


def artifact(server: Any) -> dict[str, str]:
    return {"kind": "oci", "repository": f"{server.url}/models/llama"}


@pytest.mark.parametrize("by_digest", [True, False])
def test_an_artifacts_layers_are_files_by_their_titles(
    by_digest: bool, server: Any, checkpoint: Any, settings: Any, tmp_path: Path
) -> None:
    digest = registry(server)
    stored = obtain(tmp_path, checkpoint(artifact(server), revision=digest if by_digest else "v1"), settings())
    assert content(stored) == FILES


def test_a_registry_that_wants_a_token_gets_one_for_the_user(
    server: Any, checkpoint: Any, settings: Any, tmp_path: Path
) -> None:
    registry(server, user="ada")
    made = checkpoint(artifact(server), revision="v1")
    with pytest.raises(WeightsError, match="a user that may pull"):
        obtain(tmp_path, made, settings())
    assert content(obtain(tmp_path, made, settings(oci_username="ada", oci_password="pw"))) == FILES


def test_a_password_is_not_sent_to_another_host_in_the_clear(
    server: Any, checkpoint: Any, settings: Any, tmp_path: Path
) -> None:
    registry(server, user="ada", realm=server.url.replace("127.0.0.1", "localhost"))
    made = checkpoint(artifact(server), revision="v1")
    with pytest.raises(WeightsError, match="a user that may pull"):
        obtain(tmp_path, made, settings(oci_username="ada", oci_password="pw"))
    assert not [headers for target, headers in server.seen if "authorization" in headers and "/token" in target]


def test_a_manifest_of_another_digest_is_refused(server: Any, checkpoint: Any, settings: Any, tmp_path: Path) -> None:
    digest = registry(server)
    server.files[f"/v2/models/llama/manifests/{digest}"] += b" "
    with pytest.raises(WeightsError, match="its manifest has the digest"):
        obtain(tmp_path, checkpoint(artifact(server), revision=digest), settings())


def test_layers_without_names_are_refused(server: Any, checkpoint: Any, settings: Any, tmp_path: Path) -> None:
    registry(server, named={})
    with pytest.raises(WeightsError, match="oras push"):
        obtain(tmp_path, checkpoint(artifact(server), revision="v1"), settings())


def test_files_that_the_artifact_has_otherwise_than_listed_are_refused(
    server: Any, checkpoint: Any, settings: Any, tmp_path: Path
) -> None:
    registry(server)
    made = checkpoint(artifact(server), revision="v1", files={"config.json": b"another"})
    with pytest.raises(WeightsError, match=r"has no config\.json as listed"):
        obtain(tmp_path, made, settings())


def test_nothing_is_latest(server: Any, checkpoint: Any, settings: Any) -> None:
    with pytest.raises(WeightsError, match="tag or digest"):
        open_source(checkpoint=checkpoint(artifact(server)), settings=settings())


# Folders


def test_a_folder_of_another_claim_is_copied(checkpoint: Any, settings: Any, tmp_path: Path) -> None:
    folder = tmp_path / "source" / "llama"
    folder.mkdir(parents=True)
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    made = checkpoint({"kind": "pvc", "claim": "models", "path": "llama"})
    told = settings(source_dir=tmp_path / "source")
    stored = obtain(tmp_path / "weights", made, told)
    assert content(stored) == FILES
    assert not (stored.folder / "config.json").samefile(folder / "config.json")
    (folder / "SHA256SUMS").write_bytes(SUMS[1:].replace(b"  config", b"0  config"))
    with pytest.raises(WeightsError, match="has SHA-256"):
        obtain(tmp_path / "weights", made, told)


def test_a_path_does_not_lead_out_of_its_claim(checkpoint: Any, settings: Any, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    made = checkpoint({"kind": "pvc", "claim": "models", "path": "../weights"})
    with pytest.raises(WeightsError, match="leads out of claim"):
        open_source(checkpoint=made, settings=settings(source_dir=tmp_path / "source"))
