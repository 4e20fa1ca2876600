"""`paddock images`: the table, and digests looked up in a registry over real HTTP."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from paddock_core.catalog.images import packaged_images

from tests.cli.test_cli_alone import paddock

MANIFEST = b'{"schemaVersion": 2}'
DIGEST = "sha256:" + hashlib.sha256(MANIFEST).hexdigest()
NEWEST = packaged_images()[0]


@dataclass
class Registry:
    """A small one: which tags it has, and whom it lets see them."""

    url: str = ""
    tags: set[str] = field(default_factory=set)
    demands: str = ""
    """Empty, `bearer` or `basic`."""
    user: str = ""
    tells_digest: bool = True
    realm: str | None = None
    asked: list[str] = field(default_factory=list)

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")


class Handler(BaseHTTPRequestHandler):
    """Answers for a registry."""

    state: ClassVar[Registry]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's own name
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/token":
            self._token(parse_qs(parts.query))
            return
        self.state.asked.append(f"{self.command} {parts.path}")
        if not self._may():
            return
        found = parts.path.removeprefix("/v2/").replace("/manifests/", ":") in self.state.tags
        assert "application/vnd.oci.image.index.v1+json" in self.headers["Accept"]
        headers = {"Docker-Content-Digest": DIGEST} if self.state.tells_digest else {}
        self._answer(200 if found else 404, MANIFEST if found else b"{}", headers if found else {})

    def _may(self) -> bool:
        given = self.headers.get("Authorization", "")
        wanted = {"": "", "bearer": "Bearer good", "basic": _basic("u", "p")}[self.state.demands]
        if not wanted or given == wanted:
            return True
        realm = self.state.realm if self.state.realm is not None else f"{self.state.url}/token"
        challenge = f'Bearer realm="{realm}",service="reg",scope="repository:x:pull"'
        challenge = 'Basic realm="reg"' if self.state.demands == "basic" else challenge
        self._answer(401, b"{}", {"WWW-Authenticate": challenge})
        return False

    def _token(self, query: dict[str, list[str]]) -> None:
        assert query == {"service": ["reg"], "scope": ["repository:x:pull"]}
        known = not self.state.user or self.headers.get("Authorization") == _basic(self.state.user, "p")
        self._answer(200 if known else 401, json.dumps({"token": "good"}).encode(), {})

    def _answer(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture
def registry() -> Iterator[Registry]:
    state = Registry()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answering", (Handler,), {"state": state}))
    state.url = f"http://127.0.0.1:{server.server_port}"
    state.tags = {f"nvidia/tritonserver:{NEWEST.base.tag}", f"llm/serving:{NEWEST.release}"}
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def pin(registry: Registry, file: Path, *more: str, **environment: str) -> Any:
    words = ("--registry-mirror", registry.url, "--serving", f"{registry.host}/llm/serving", "--file", str(file))
    return paddock("images", "pin", *words, *more, **environment)


def values(file: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(file.read_text(encoding="utf-8"))["serving"]["images"])


def test_the_table_is_printed_without_a_control_plane(tmp_path: Path) -> None:
    done = paddock("images")
    assert done.returncode == 0, done.stderr
    for image in packaged_images():
        assert f"{image.id} " in done.stdout
    rows = json.loads(paddock("images", "list", "--file", str(tmp_path / "none"), "-o", "json").stdout)
    assert [row["tensorrt_llm"] for row in rows] == [image.tensorrt_llm for image in packaged_images()]


def test_digests_become_values_of_the_chart(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "images.yaml"
    done = pin(registry, file)
    assert done.returncode == 0, done.stderr
    wanted = {
        "repository": f"{registry.host}/llm/serving",
        "tag": NEWEST.release,
        "digest": DIGEST,
        "baseDigest": DIGEST,
    }
    assert values(file) == {NEWEST.id: wanted}
    listed = json.loads(paddock("images", "list", "--file", str(file), "-o", "json").stdout)
    assert listed[0]["serving"]["digest"] == listed[0]["base"]["digest"] == DIGEST
    assert f"HEAD /v2/nvidia/tritonserver/manifests/{NEWEST.base.tag}" in registry.asked


def test_other_pins_of_the_file_stay(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "images.yaml"
    older = packaged_images()[1]
    file.write_text(yaml.safe_dump({"serving": {"images": {older.id: {"tag": "x"}}}}), encoding="utf-8")
    assert pin(registry, file, "--image", NEWEST.id).returncode == 0
    assert set(values(file)) == {older.id, NEWEST.id}
    assert values(file)[older.id] == {"tag": "x"}


def test_where_the_digest_is_not_told_it_is_computed(registry: Registry, tmp_path: Path) -> None:
    registry.tells_digest = False
    assert pin(registry, tmp_path / "images.yaml").returncode == 0
    assert values(tmp_path / "images.yaml")[NEWEST.id]["digest"] == DIGEST


@pytest.mark.parametrize(("demands", "user"), [("bearer", ""), ("bearer", "u"), ("basic", "u")])
def test_a_registry_that_asks_who_we_are_is_told(registry: Registry, tmp_path: Path, demands: str, user: str) -> None:
    registry.demands, registry.user = demands, user
    secrets = {"PADDOCK_REGISTRY_USER": "u", "PADDOCK_REGISTRY_PASSWORD": "p"} if user else {}
    done = pin(registry, tmp_path / "images.yaml", **secrets)
    assert done.returncode == 0, done.stderr
    if user:
        without = pin(registry, tmp_path / "other.yaml")
        assert without.returncode == 3
        assert "PADDOCK_REGISTRY_USER" in without.stderr
        assert not (tmp_path / "other.yaml").exists()


def test_a_token_is_not_asked_for_over_an_open_line_to_somebody_else(registry: Registry, tmp_path: Path) -> None:
    registry.demands, registry.realm = "bearer", "http://elsewhere.example/token"
    done = pin(registry, tmp_path / "images.yaml")
    assert done.returncode == 3
    assert "must be an https URL" in done.stderr


def test_what_is_not_there_says_how_it_is_made(registry: Registry, tmp_path: Path) -> None:
    registry.tags = {f"nvidia/tritonserver:{NEWEST.base.tag}"}
    done = pin(registry, tmp_path / "images.yaml")
    assert done.returncode == 4
    assert "build and push it" in done.stderr
    assert not (tmp_path / "images.yaml").exists()


def test_an_unreachable_registry_names_the_mirror_option(tmp_path: Path) -> None:
    words = ("--registry-mirror", "http://127.0.0.1:7769", "--file", str(tmp_path / "images.yaml"))
    done = paddock("images", "pin", *words)
    assert done.returncode == 5
    assert "--registry-mirror" in done.stderr


@pytest.mark.parametrize(
    ("words", "code"), [(("--image", "trtllm-1"), 2), (("--no-base",), 2), (("--serving", "plain"), 1)]
)
def test_senseless_wishes_are_refused(registry: Registry, tmp_path: Path, words: tuple[str, ...], code: int) -> None:
    file = ("--file", str(tmp_path / "images.yaml"), "--registry-mirror", registry.url)
    assert paddock("images", "pin", *words, *file).returncode == code
