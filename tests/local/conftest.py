import pytest


@pytest.fixture(autouse=True)
def sockets_stay_in_the_test(tmp_path, monkeypatch):
    """Test folders are too deep for sockets; the short folder that stacks take instead must not outlive the test."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
