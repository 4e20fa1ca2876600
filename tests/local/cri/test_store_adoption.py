import os
import subprocess

import pytest
from paddock_local.cri import tree
from paddock_local.cri.files import read_json, write_json
from paddock_local.cri.store import LOST_EXIT_CODE, Container, Sandbox, Store


class Config:
    """Stands for a protobuf message: bytes in, bytes out."""

    def __init__(self, data=b"config"):
        self.data = data

    def SerializeToString(self):  # noqa: N802 - protobuf's name
        return self.data

    @classmethod
    def FromString(cls, data):  # noqa: N802 - protobuf's name
        return cls(data)


class Messages:
    PodSandboxConfig = ContainerConfig = Config


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path, Messages)


@pytest.fixture
def sleeper():
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def created(store, name="c1"):
    container = Container(
        id=name, sandbox_id="s1", config=Config(), image_id="i", created_at=5, folder=store.container_folder(name)
    )
    store.save_container(container)
    return container


def running(container, shim, started="now"):
    start = tree.start_time(shim) if started == "now" else started
    state = {"pid": shim, "shim": shim, "shim_started": start, "namespace": "", "started_at": 7}
    write_json(container.folder / "running.json", state)


def test_a_new_runtime_knows_pods_and_containers_again(tmp_path, store):
    store.save_sandbox(Sandbox(id="s1", config=Config(), address="127.1.1.9", created_at=1, ready=True), last_address=9)
    created(store)
    again = Store(tmp_path, Messages)
    assert again.sandboxes["s1"].address == "127.1.1.9"
    assert again.sandboxes["s1"].config.data == b"config"
    assert again.last_address == 9
    assert [container.id for container in again.containers_of("s1")] == ["c1"]
    assert not again.containers["c1"].running


def test_a_container_whose_keeper_lives_is_adopted(tmp_path, store, sleeper):
    running(created(store), sleeper.pid)
    adopted = Store(tmp_path, Messages).containers["c1"]
    assert adopted.running
    assert adopted.pid == sleeper.pid


def test_a_container_that_ended_meanwhile_has_its_exit_code(tmp_path, store, sleeper):
    container = created(store)
    running(container, sleeper.pid)
    write_json(container.folder / "exit.json", {"code": 3, "finished_at": 9})
    ended = Store(tmp_path, Messages).containers["c1"]
    assert (ended.running, ended.exit_code, ended.finished_at) == (False, 3, 9)


def test_a_keeper_that_vanished_without_a_word_is_a_lost_container(tmp_path, store):
    container = created(store)
    process = subprocess.Popen(["true"])
    process.wait()
    running(container, process.pid, started=1)
    lost = Store(tmp_path, Messages).containers["c1"]
    assert (lost.running, lost.exit_code) == (False, LOST_EXIT_CODE)
    assert read_json(container.folder / "exit.json")["code"] == LOST_EXIT_CODE


def test_a_process_id_that_went_to_somebody_else_is_not_adopted(tmp_path, store):
    running(created(store), os.getpid(), started=1)
    assert not Store(tmp_path, Messages).containers["c1"].running


def test_forgetting_leaves_nothing(tmp_path, store):
    store.save_sandbox(Sandbox(id="s1", config=Config(), address="127.1.1.9", created_at=1, ready=True))
    container = created(store)
    store.forget_container("c1")
    store.forget_sandbox("s1")
    assert not container.folder.exists()
    again = Store(tmp_path, Messages)
    assert not again.containers
    assert not again.sandboxes


def test_a_file_is_whole_and_private(tmp_path):
    write_json(tmp_path / "x.json", {"a": 1})
    write_json(tmp_path / "x.json", {"a": 2})
    assert read_json(tmp_path / "x.json") == {"a": 2}
    assert (tmp_path / "x.json").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]
    assert read_json(tmp_path / "none.json") is None
