from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_local.cri.rootfs import Mount, inside, mount_order

PATHS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


@given(st.lists(PATHS, max_size=8))
def test_a_mount_never_covers_one_that_came_before(targets):
    ordered = [mount.target for mount in mount_order([Mount(source="/s", target=t, read_only=False) for t in targets])]
    for index, later in enumerate(ordered):
        assert not [earlier for earlier in ordered[:index] if earlier.startswith(later + "/")]


def test_links_are_followed_as_the_container_would(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "run").symlink_to("/run")
    (tmp_path / "var" / "here").symlink_to("../run/x")
    assert inside(tmp_path, "/var/run/secrets") == tmp_path / "run" / "secrets"
    assert inside(tmp_path, "/var/here/y") == tmp_path / "run" / "x" / "y"


@pytest.mark.parametrize("path", ["/../../etc", "/up/../../etc", "/up/etc"])
def test_no_path_leads_out_of_the_container(tmp_path, path):
    (tmp_path / "up").symlink_to("../../../..")
    assert inside(tmp_path, path) == Path(tmp_path, "etc")


def test_links_in_a_circle_end(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="too many"):
        inside(tmp_path, "/a/x")
