"""Every noun, as a person types it, against a real control plane."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import asyncpg
import pytest

SIGNED = (
    ("--name", "Ada Lovelace"),
    ("--title", "General Counsel"),
    ("--email", "ada@acme.example"),
    ("--authority", "board resolution"),
    ("--jurisdiction", "us"),
    ("--mau-band", "le_700m"),
    ("--flow-down",),
    ("--agree",),
)
OFFER = ("license", "offer", "--entity", "acme-inc")
PERSON = [word for option in SIGNED for word in option]


def offer(shell: Any, *, entity: str = "acme-inc", role: str = "deployer") -> Any:
    words = ("--entity", entity, "--role", role, "--signatory", "Ada Lovelace <ada@acme.example>")
    return shell.read("license", "offer", "--license", "paddock-demo", *words)


def test_entities_are_registered_and_shown(paddock: Any, acme: Any) -> None:
    assert [item["id"] for item in paddock.read("entity", "list")] == ["acme-inc", "platform-inc"]
    assert paddock.read("entity", "show", "acme-inc")["affiliates"] == ["Acme Labs"]
    table = paddock("entity", "list").out
    assert "LEGAL NAME" in table
    assert "Acme Inc." in table
    assert [item["id"] for item in acme.read("entity", "list")] == ["acme-inc"]


def test_a_tenant_has_namespaces_and_quotas(paddock: Any, acme: Any) -> None:
    paddock("tenant", "namespace", "add", "acme", "acme-prod")
    assert paddock.read("tenant", "show", "acme")["namespaces"] == [{"id": "acme-prod", "tenant": "acme"}]
    paddock("quota", "set", "--tenant", "acme", "--requests-per-minute", "60", "--concurrent-requests", "4")
    paddock("quota", "set", "--tenant", "acme", "--requests-per-minute", "90")
    shown = acme.read("quota", "show", "--tenant", "acme")
    assert (shown["requests_per_minute"], shown["concurrent_requests"]) == (90, 4)
    paddock("quota", "set", "--tenant", "acme", "--unset", "concurrent-requests")
    assert acme.read("quota", "show", "--tenant", "acme")["concurrent_requests"] is None
    assert (
        "no limit is called nonsense" in paddock("quota", "set", "--tenant", "acme", "--unset", "nonsense", code=2).err
    )
    paddock("tenant", "namespace", "remove", "acme", "acme-prod")
    assert paddock.read("tenant", "show", "acme")["namespaces"] == []


def test_a_key_is_shown_once(acme: Any) -> None:
    made = acme.read("key", "create", "--tenant", "acme", "--name", "ci", "--days", "30", "--max-output-tokens", "99")
    assert made["key"].startswith("pk_")
    listed = acme("key", "list", "--tenant", "acme").out
    assert made["id"] in listed
    assert "max_output_tokens=99" in listed
    assert made["key"] not in listed
    acme("key", "revoke", made["id"], "--tenant", "acme")
    states = {item["id"]: item["revoked_at"] for item in acme.read("key", "list", "--tenant", "acme")}
    assert states[made["id"]] is not None


def test_only_the_signatory_accepts_and_only_once(paddock: Any, acme: Any) -> None:
    made = offer(acme)
    forged = paddock("license", "accept", "--token", paddock.token_file.read_text(encoding="utf-8"), *PERSON, code=3)
    assert "SignatoryRequired" in forged.err
    accepted = acme("license", "accept", "--token", made["signatory_token"], *PERSON, "-o", "json")
    assert accepted.json["state"] == "active"
    assert "Duties:" in accepted.err
    assert acme("license", "accept", "--token", made["signatory_token"], *PERSON, code=None).code in (1, 3)
    listed = paddock.read("license", "list", "--entity", "acme-inc", "--license", "paddock-demo")
    assert [item["id"] for item in listed if item["state"] == "active"] == [accepted.json["id"]]


def test_what_is_not_answered_is_named(acme: Any) -> None:
    made = offer(acme)
    refused = acme("license", "accept", "--token", made["signatory_token"], "--name", "Ada", code=2)
    for option in ("--title", "--email", "--authority", "--jurisdiction", "--mau-band", "--agree"):
        assert option in refused.err
    assert "--name" not in refused.err.splitlines()[-2]


def test_the_signatory_reads_the_texts_first(acme: Any) -> None:
    made = offer(acme)
    shown = acme("license", "read", "--token", made["signatory_token"])
    assert "===== agreement =====" in shown.out
    assert "Paddock" in shown.out


def test_a_check_answers_with_its_exit_code(paddock: Any, acme: Any) -> None:
    offered = offer(paddock, entity="platform-inc", role="operator")
    paddock("license", "accept", "--token", offered["signatory_token"], *PERSON)
    question = ("license", "check", "--entity", "acme-inc", "--model", "smollm2-135m-instruct")
    if not any(item["state"] == "active" for item in acme.read("license", "list", "--entity", "acme-inc")):
        acme("license", "accept", "--token", offer(acme)["signatory_token"], *PERSON)
    assert acme.read(*question)["allowed"] is True
    active = [item for item in acme.read("license", "list", "--entity", "acme-inc") if item["state"] == "active"]
    for item in active:
        acme("license", "revoke", item["id"], "--reason", "test")
    denied = acme(*question, code=3)
    assert "AcceptanceMissing" in denied.out


def test_the_catalogue_is_readable(acme: Any) -> None:
    assert "smollm2-135m-instruct" in acme("model", "list").out
    assert acme.read("model", "show", "llama-3.1-405b-instruct")["licenses"] == ["llama3.1"]
    assert acme.read("model", "notice", "llama-3.1-8b-instruct")["model"] == "llama-3.1-8b-instruct"
    imported = {item["license"]["id"]: all(item["imported"].values()) for item in acme.read("license", "catalog")}
    assert imported["paddock-demo"] is True
    assert imported["llama3.1"] is False
    assert "CLAUSE" in acme("license", "show", "paddock-demo").out


def test_usage_and_audit_are_readable(paddock: Any, acme: Any) -> None:
    report = acme.read("usage", "--group-by", "model", "--since", "7d")
    assert (report["rows"], report["total"]["requests"]) == ([], 0)
    assert "TOKENS" in acme("usage").out
    assert "no time" in acme("usage", "--since", "yesterday", code=2).err
    assert {"entity", "tenant"} <= {item["action"].split(".")[0] for item in paddock.read("audit", "list")["items"]}
    assert "ACTION" in paddock("audit", "list").out


@pytest.mark.parametrize(
    ("words", "code", "advice"),
    [
        (("entity", "show", "nobody"), 4, ""),
        (("entity", "create", "acme-inc", "--legal-name", "Other", "--place", "US"), 1, ""),
        (("entity", "create", "Not An Id", "--legal-name", "Other", "--place", "US"), 1, ""),
        ((*OFFER, "--role", "deployer", "--signatory", "x"), 2, "--license"),
        ((*OFFER, "--license", "paddock-demo", "--role", "king", "--signatory", "x"), 2, "deployer"),
        ((*OFFER, "--license", "paddock-demo", "--role", "deployer", "--signatory", "x"), 2, "Name <mail"),
        (("tenant", "nonsense"), 2, ""),
    ],
)
def test_errors_have_their_codes(paddock: Any, acme: Any, words: tuple[str, ...], code: int, advice: str) -> None:
    said = paddock(*words, code=code).err
    assert said
    assert advice in said


def test_a_tenant_may_not_do_the_platforms_work(acme: Any) -> None:
    denied = acme("tenant", "create", "other", "--entity", "acme-inc", code=3)
    assert "Traceback" not in denied.err


def test_a_bad_token_is_denied_with_advice(paddock: Any, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("pa_nonsense", encoding="utf-8")
    assert "PADDOCK_TOKEN_FILE" in paddock("tenant", "list", code=3, PADDOCK_TOKEN_FILE=str(tmp_path / "token")).err
    assert "cannot be read" in paddock("tenant", "list", code=3, PADDOCK_TOKEN_FILE=str(tmp_path / "none")).err


def test_records_of_a_license(paddock: Any, acme: Any, tmp_path: Path) -> None:
    acceptance = acme("license", "accept", "--token", offer(acme)["signatory_token"], *PERSON, "-o", "json").json["id"]
    assert paddock.read("license", "suspend", acceptance, "--reason", "audit")["state"] == "suspended"
    assert acme("license", "reinstate", acceptance, "--reason", "mine", code=3).err
    assert paddock.read("license", "reinstate", acceptance, "--reason", "cleared")["state"] == "active"
    stated = ("--entity", "acme-inc", "--license", "paddock-demo")
    acme("license", "correct", *stated, "--method", "recount", "--reason", "an error", "--value", "800000000")
    assert "800000000" in acme("license", "statements", *stated).out
    (tmp_path / "letter.pdf").write_bytes(b"granted")
    words = ("--valid-from", "2026-01-01", "--valid-to", "2096-12-31", "--grantor", "licensor", "--reference", "letter")
    made = paddock("license", "grant", "add", *stated, *words, "--document", str(tmp_path / "letter.pdf"), "-o", "json")
    grant = made.json["id"]
    for name in ("Ada", "Bob"):
        person = ("--name", name, "--email", f"{name}@platform.example")
        reviewer = paddock("license", "grant", "reviewer", *person, "-o", "json").json
        shown = paddock("license", "grant", "review", grant, "--token", reviewer["reviewer_token"])
    assert "active" in shown.out
    assert "Ada" in paddock("license", "grant", "reviewers").out
    paddock("license", "grant", "end-reviewer", reviewer["id"])
    assert paddock("license", "grant", "review", grant, "--token", reviewer["reviewer_token"], code=3).err
    assert "active" in acme("license", "grant", "list", "--entity", "acme-inc").out
    assert acme.read("license", "check", "--entity", "acme-inc", "--model", "smollm2-135m-instruct")["allowed"]
    paddock("license", "grant", "withdraw", grant, "--reason", "ended")
    paddock("license", "terminate", acceptance, "--reason", "ended")
    paddock("license", "reinstate", acceptance, "--reason", "lifted")
    assert paddock.read("license", "purges") == []
    assert "STATE" in paddock("license", "purges").out
    assert acceptance in paddock("license", "erase", acceptance).out
    assert paddock.read("license", "erase", acceptance)["acceptances"] == []
    erased = paddock.read("entity", "erase-person", "Ada@platform.example")
    assert (len(erased["reviewers"]), erased["reviews"]) == (1, [grant])
    assert acme("entity", "erase-person", "Ada@platform.example", code=3).err
    swiss = ("entity", "create", "swiss", "--legal-name", "Swiss AG", "--place", "CH", "--domicile", "fr")
    assert paddock.read(*swiss)["domicile"] == "FR"
    assert paddock.read("license", "policy", "--threshold", "conservative")["threshold"] == "conservative"
    assert "literal" in paddock("license", "policy", "--threshold", "literal").out
    assert (
        "no day"
        in paddock(
            "license", "grant", "add", *stated, *words[2:], "--valid-from", "soon", "--document", __file__, code=2
        ).err
    )


def test_the_audit_log_is_verified_against_exported_heads(paddock: Any, acme: Any, tmp_path: Path) -> None:
    heads, key = tmp_path / "heads", ("--key-file", str(paddock.home / "audit_key"))
    paddock("audit", "head", "--out", str(heads), *key)
    paddock("entity", "create", "later-inc", "--legal-name", "Later Inc.", "--place", "US")
    paddock("audit", "head", "--out", str(heads))
    found = paddock.read("audit", "verify", "--head", str(heads), *key)
    assert (found["holds"], found["heads_compared"], found["signatures_checked"]) == (True, 2, True)
    assert "cut off would not show" in paddock("audit", "verify").err
    nothing = tmp_path / "nothing"
    nothing.write_text("\n", encoding="utf-8")
    assert "no exported head" in paddock("audit", "verify", "--head", str(nothing), code=1).err
    last = json.loads(heads.read_text(encoding="utf-8").splitlines()[-1])
    for change, said in (({"seq": last["seq"] + 5}, "cut off"), ({"digest": "0" * 64}, "written anew")):
        heads.write_text(json.dumps({**last, **change}), encoding="utf-8")
        assert said in paddock("audit", "verify", "--head", str(heads), code=1).err
        assert "not signed with this key" in paddock("audit", "verify", "--head", str(heads), *key, code=1).err
    heads.write_text("nonsense", encoding="utf-8")
    assert "line 1" in paddock("audit", "verify", "--head", str(heads), code=2).err


async def test_what_was_done_to_the_log_is_found_and_placed(paddock: Any, acme: Any, database: str) -> None:
    address = urlsplit(database.replace("postgresql+asyncpg", "postgresql"))
    options = dict(parse_qsl(address.query))
    connection = await asyncpg.connect(host=options["host"], port=int(options["port"]), user="postgres")
    try:
        row = await connection.fetchrow("SELECT seq, actor FROM audit_log ORDER BY seq OFFSET 2 LIMIT 1")
        await connection.execute("UPDATE audit_log SET actor = 'nobody' WHERE seq = $1", row["seq"])
        assert f"at entry {row['seq']}" in paddock("audit", "verify", code=1).err
        back = "UPDATE audit_log SET actor = $2, seq = $1 WHERE abs(seq) = $1"
        await connection.execute(back, row["seq"], row["actor"])
        paddock("audit", "verify")
        await connection.execute("UPDATE audit_log SET seq = -seq WHERE seq = $1", row["seq"])
        assert f"at entry {row['seq']}: missing" in paddock("audit", "verify", code=1).err
        await connection.execute(back, row["seq"], row["actor"])
        paddock("audit", "verify")
    finally:
        await connection.close()


def test_the_license_report_comes_in_every_form(paddock: Any, acme: Any) -> None:
    words = ("license", "report", "--license", "paddock-demo", "--month", f"{datetime.now(UTC):%Y-%m}")
    report = paddock.read(*words)
    assert report["title"] == "Paddock Demonstration License"
    assert "Expires next" in paddock(*words).out
    assert paddock(*words, "-o", "csv").out.startswith("section,text")
    assert paddock(*words, "-o", "html").out.startswith("<!doctype html>")
    acme(*words, code=3)
