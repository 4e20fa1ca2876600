"""Settings: each is explained, secrets come from files and are never shown."""

from pathlib import Path

import pytest
from paddock_operator.configured import config_of
from paddock_operator.settings import OperatorSettings


def test_every_setting_is_explained() -> None:
    assert [name for name, field in OperatorSettings.model_fields.items() if not field.description] == []


def test_secrets_are_read_from_files_and_never_shown(settings: OperatorSettings) -> None:
    config = config_of(settings)
    assert config.platform_key == b"platform-key-of-the-tests"
    assert "platform-key-of-the-tests" not in repr(config)
    assert "platform-key-of-the-tests" not in str(settings.model_dump())


def test_missing_and_empty_secrets_are_named(settings: OperatorSettings, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot read the secret file gone"):
        settings.read_secret(tmp_path / "gone")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ValueError, match="the secret file empty is empty"):
        settings.read_secret(tmp_path / "empty")
