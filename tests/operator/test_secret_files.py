"""The operator's token of the internal API is replaced while it runs."""

from paddock_operator.secrets import LOOK_SECONDS, SecretFile


def test_a_new_content_is_used_and_one_that_cannot_be_read_changes_nothing() -> None:
    at, content = 50.0, b"first"

    def source() -> bytes:
        if not content:
            raise ValueError("empty")
        return content

    secret = SecretFile(source, now=lambda: at)
    content = b"second"
    assert secret.read() == b"first"
    at += LOOK_SECONDS
    assert secret.read() == b"second"
    content, at = b"", at + LOOK_SECONDS
    assert secret.read() == b"second"
