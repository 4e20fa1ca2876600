from pathlib import Path

import paddock_local.cri.images as images
import pytest

FOLDER = Path(images.__file__).parents[1] / "images"
VALUES = {"venv": "/srv/p/.paddock/venv", "checkout": "/srv/p"}


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("localhost/paddock/serving:0.1.0", "localhost/paddock/serving"),
        ("localhost/paddock/serving", "localhost/paddock/serving"),
        ("localhost:5000/a:b", "localhost:5000/a"),
        ("a/b@sha256:00ff", "a/b"),
        ("a/b:1@sha256:00ff", "a/b"),
    ],
)
def test_the_repository_of_a_reference(reference, name):
    assert images.repository(reference) == name


def test_the_serving_image_is_the_checkouts_environment():
    image = images.load(FOLDER, values=VALUES)["localhost/paddock/serving"]
    assert image.env["PATH"].startswith("/srv/p/.paddock/venv/bin:")
    assert image.entrypoint == ["paddock-serving"]
    assert image.id.startswith("sha256:")


def test_an_image_is_one_file_in_the_folder(tmp_path):
    (tmp_path / "x.yaml").write_text("name: x/y\nenv: {A: '{checkout}/a'}\n")
    assert images.load(tmp_path, values=VALUES)["x/y"].env == {"A": "/srv/p/a"}


def test_another_image_is_refused_with_what_there_is():
    assert "localhost/paddock/serving" in images.missing("nginx:1", images.load(FOLDER, values=VALUES))
