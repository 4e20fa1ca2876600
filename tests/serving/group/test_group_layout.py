"""Who is in a group and how it is started, and what OpenSSH is told: pure parts and files."""

import os
import pwd
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_serving.errors import EnvironmentNotReadyError
from paddock_serving.group import rank, ssh
from paddock_serving.group.layout import Group, mpirun_argv
from paddock_serving.settings import GroupSettings, WorkerSettings

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
GROUPS = st.builds(
    lambda pod, subdomain, namespace, size, gpus: Group(
        leader=f"{pod}.{subdomain}.{namespace}", size=size, gpus_per_pod=gpus
    ),
    LABEL,
    LABEL,
    LABEL,
    st.integers(1, 40),
    st.integers(1, 16),
)


def argv(group: Group, command: tuple[str, ...] = ("python", "-m", "rank")) -> list[str]:
    return mpirun_argv(group=group, ssh_config=Path("/s/config"), command=command)


def test_the_hosts_of_a_group_of_two() -> None:
    group = Group(leader="llama-1f2e-0.llama-1f2e-0.acme", size=2, gpus_per_pod=8)
    assert group.hosts == ("llama-1f2e-0.llama-1f2e-0.acme", "llama-1f2e-0-1.llama-1f2e-0.acme")
    words = argv(group)
    assert words[words.index("-np") + 1] == "16"
    assert words[words.index("--host") + 1] == "llama-1f2e-0.llama-1f2e-0.acme:8,llama-1f2e-0-1.llama-1f2e-0.acme:8"
    assert words[-4:] == ["trtllm-llmapi-launch", "python", "-m", "rank"]


@given(GROUPS)
def test_every_gpu_has_a_rank_and_every_pod_one_name(group: Group) -> None:
    hosts = group.hosts
    assert len(set(hosts)) == len(hosts) == group.size
    assert hosts[0] == group.leader
    assert {host.partition(".")[2] for host in hosts} == {group.leader.partition(".")[2]}
    words = argv(group)
    slots = [place.rsplit(":", 1) for place in words[words.index("--host") + 1].split(",")]
    assert tuple(host for host, _ in slots) == hosts
    assert sum(int(count) for _, count in slots) == int(words[words.index("-np") + 1]) == group.ranks


@pytest.mark.parametrize("leader", ["", "alone", ".b.c", "a."])
def test_a_leader_without_a_subdomain_is_refused(leader: str) -> None:
    with pytest.raises(EnvironmentNotReadyError, match="LWS_LEADER_ADDRESS"):
        _ = Group(leader=leader, size=2, gpus_per_pod=1).hosts


@pytest.mark.parametrize("word", ["a b", "", "a\tb"])
def test_what_the_launcher_would_split_is_refused(word: str) -> None:
    with pytest.raises(EnvironmentNotReadyError, match="blanks"):
        argv(Group(leader="a.b.c", size=2, gpus_per_pod=1), (word,))


def test_group_settings_come_from_what_leaderworkerset_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LWS_LEADER_ADDRESS", "a-0.a-0.n")
    monkeypatch.setenv("LWS_GROUP_SIZE", "2")
    monkeypatch.setenv("PADDOCK_SERVING_GPUS_PER_POD", "8")
    settings = GroupSettings()  # type: ignore[call-arg]
    assert (settings.leader, settings.size, settings.gpus_per_pod, settings.group_port) == ("a-0.a-0.n", 2, 8, 2233)
    with pytest.raises(ValueError, match="validation error"):
        WorkerSettings(bind="0.0.0.0 -x")
    with pytest.raises(ValueError, match="validation error"):
        WorkerSettings(bind="10.0.0.1", group_port=22)


@pytest.fixture
def keys(tmp_path: Path) -> ssh.Keys:
    source = tmp_path / "keys"
    source.mkdir()
    (source / "id").write_text("a private key\n", encoding="ascii")
    (source / "id").chmod(0o440)
    (source / "id.pub").write_text("ssh-ed25519 AAAAC3 operator\n", encoding="ascii")
    return ssh.take_keys(source=source, scratch=tmp_path / "scratch")


def test_the_private_key_is_this_users_alone_also_after_a_restart(keys: ssh.Keys, tmp_path: Path) -> None:
    again = ssh.take_keys(source=tmp_path / "keys", scratch=tmp_path / "scratch")
    assert again == keys
    assert stat.S_IMODE(keys.private.stat().st_mode) == 0o600
    assert keys.public == "ssh-ed25519 AAAAC3"


def test_missing_keys_say_who_brings_them(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentNotReadyError, match="operator mounts it"):
        ssh.take_keys(source=tmp_path, scratch=tmp_path / "scratch")


def test_the_server_lets_in_the_key_and_nothing_else(keys: ssh.Keys) -> None:
    environment = {"NCCL_DEBUG": "INFO", "PATH": "/opt/bin:/bin", "PADDOCK_SERVING_X": "1", "ODD": 'a"b', "HOME": "/h"}
    file = ssh.write_server(keys, address="10.1.2.3", port=2233, environment=environment)
    lines = dict(line.split(" ", 1) for line in file.read_text(encoding="utf-8").splitlines())
    assert lines["ListenAddress"] == "10.1.2.3"
    assert lines["AuthenticationMethods"] == "publickey"
    assert lines["AllowUsers"] == pwd.getpwuid(os.getuid()).pw_name
    assert {lines[name] for name in ("PasswordAuthentication", "KbdInteractiveAuthentication", "PermitTTY")} == {"no"}
    assert lines["DisableForwarding"] == "yes"
    assert lines["SetEnv"] == '"NCCL_DEBUG=INFO" "PATH=/opt/bin:/bin"'
    assert (keys.folder / "authorized_keys").read_text(encoding="ascii") == "restrict ssh-ed25519 AAAAC3\n"


def test_the_leader_knows_its_workers_and_asks_nobody(keys: ssh.Keys) -> None:
    lines = dict(line.split(" ", 1) for line in ssh.write_client(keys, port=2233).read_text("utf-8").splitlines())
    assert (lines["StrictHostKeyChecking"], lines["BatchMode"], lines["Port"]) == ("yes", "yes", "2233")
    assert Path(lines["UserKnownHostsFile"]).read_text(encoding="ascii") == "* ssh-ed25519 AAAAC3\n"


def test_a_user_without_a_name_is_told_which_image_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(EnvironmentNotReadyError, match="serving/images"):
        ssh.own_name()


def test_the_command_of_rank_0_is_a_secret_and_its_pid_of_this_start(tmp_path: Path) -> None:
    file = rank.write_command(tmp_path / "rank", ["/t", "--secret=x"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    rank.pid_file(file).write_text("17", encoding="ascii")
    assert rank.read_pid(file) == 17
    rank.write_command(tmp_path / "rank", ["/t"])
    assert rank.read_pid(file) is None
