import base64

from paddock_local import cluster
from paddock_local.paths import StackPaths

HOOK = {
    "kind": "ValidatingWebhookConfiguration",
    "webhooks": [
        {"name": "a", "failurePolicy": "Ignore", "clientConfig": {"service": {"name": "o", "path": "/admit"}}}
    ],
}


def test_the_webhook_is_pointed_at_this_machine_and_keeps_the_rest():
    hook = cluster.local_webhook(HOOK, port=7409, authority=b"PEM")["webhooks"][0]
    assert hook["clientConfig"] == {
        "url": "https://127.0.0.1:7409/admit",
        "caBundle": base64.b64encode(b"PEM").decode(),
    }
    assert hook["failurePolicy"] == "Ignore"
    assert "service" in HOOK["webhooks"][0]["clientConfig"]


def test_a_checkout_without_manifests_still_has_the_namespace(tmp_path):
    paths = StackPaths(checkout=tmp_path, name="t")
    assert cluster.documents(paths, webhook_port=1, authority=b"") == [cluster.namespace()]


def test_every_document_of_every_file_is_found(tmp_path):
    (tmp_path / "crds").mkdir()
    (tmp_path / "crds" / "b.yaml").write_text("kind: B\n---\n---\nkind: C\n")
    (tmp_path / "crds" / "a.yaml").write_text("kind: A\n")
    assert [document["kind"] for document in cluster.read(tmp_path / "crds")] == ["A", "B", "C"]
