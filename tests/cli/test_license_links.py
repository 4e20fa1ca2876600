"""`paddock license link` and `receipt`, as an administrator types them, against a real control plane."""

import json
from typing import Any

import pytest

OFFER = ("license", "offer", "--license", "paddock-demo", "--role", "deployer", "--entity", "acme-inc")
ADA = ("--signatory", "Ada Lovelace <ada@acme.example>")
SIGNED = (
    "--name", "Ada Lovelace", "--title", "General Counsel", "--email", "ada@acme.example", "--authority", "board",
    "--jurisdiction", "us", "--mau-band", "le_700m", "--mau-method", "analytics", "--agree",
)  # fmt: skip


def test_the_platform_offers_and_the_tenant_links(paddock: Any, acme: Any) -> None:
    told = paddock(*OFFER)
    assert "paddock license link off-" in told.err
    assert "ps_" not in told.out
    offer = paddock.read(*OFFER)["offer"]
    refused = paddock("license", "link", offer, *ADA, code=3)
    assert "TenantAdminRequired" in refused.err
    first = acme.read("license", "link", offer, *ADA)["signatory_token"]
    table = acme("license", "link", offer, *ADA, "--delivered-by", "in person")
    assert "/console/sign/ps_" in table.out
    assert "works once" in table.err
    second = next(line.split()[-1] for line in table.out.splitlines() if line.startswith("signatory token"))
    assert "LinkReplaced" in acme("license", "accept", "--token", first, *SIGNED, code=1).err
    accepted = json.loads(acme("license", "accept", "--token", second, *SIGNED, "-o", "json").out)
    receipt = acme.read("license", "receipt", accepted["id"])
    assert receipt["users"]["method"] == "analytics"
    assert receipt["link"]["delivered_by"] == "in person"
    assert accepted["audit_digest"] in acme("license", "receipt", accepted["id"]).out
    page = acme("license", "receipt", accepted["id"], "-o", "html").out
    assert page.startswith("<!doctype html>")
    assert accepted["audit_digest"] in page
    paddock("license", "receipt", accepted["id"])


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("license", "link", "off-aaaaaaaaaaaa", *ADA), 4, "OfferUnknown"),
        (("license", "link", "off-aaaaaaaaaaaa", "--signatory", "Ada"), 2, "Name <mail"),
        (("license", "receipt", "acc-aaaaaaaaaaaa"), 4, "AcceptanceUnknown"),
        (OFFER, 1, "SignatoryMissing"),
    ],
)
def test_errors_say_what_to_do(words: tuple[str, ...], code: int, told: str, acme: Any) -> None:
    assert told in acme(*words, code=code).err
