from dataclasses import dataclass, field

from paddock_local.cri.containers import arguments, environment
from paddock_local.cri.images import Image
from paddock_local.cri.server import has_labels, snake

IMAGE = Image(name="i", id="sha256:0", size=1, env={"PATH": "/bin", "HOME": "/tmp"}, entrypoint=["serve"])


@dataclass
class Variable:
    key: str
    value: str | bytes


@dataclass
class Config:
    command: list[str] = field(default_factory=list)
    args: list[str] = field(default_factory=list)
    envs: list[Variable] = field(default_factory=list)


def test_the_pods_command_replaces_the_images():
    assert arguments(IMAGE, Config(args=["-v"])) == ["serve", "-v"]
    assert arguments(IMAGE, Config(command=["sh"], args=["-c", "x"])) == ["sh", "-c", "x"]


def test_the_environment_is_the_images_and_the_pods_and_nothing_else(monkeypatch):
    monkeypatch.setenv("NODE_SECRET", "x")
    config = Config(envs=[Variable("HOME", b"/work"), Variable("A", "text")])
    assert environment(IMAGE, config) == {"PATH": "/bin", "HOME": "/work", "A": "text"}


def test_calls_find_their_methods():
    assert [snake(name) for name in ("RunPodSandbox", "ImageFsInfo", "ExecSync")] == [
        "run_pod_sandbox",
        "image_fs_info",
        "exec_sync",
    ]


def test_a_selector_wants_all_its_labels():
    assert has_labels({"a": "1", "b": "2"}, {"a": "1"})
    assert not has_labels({"a": "1"}, {"a": "1", "b": "2"})
