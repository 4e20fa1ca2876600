"""The console's pages without a browser: headers, cookies, foreign forms, guesses, what logs and pages never hold."""

import json
import logging
import re
from typing import Any
from urllib.parse import urlencode

import pytest
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.keys import format_key
from paddock_core.log_lines import JsonFormatter

pytestmark = pytest.mark.postgres

MODEL = "smollm2-135m-instruct"
FORM = {"content-type": "application/x-www-form-urlencoded"}
WRONG = format_key("ps", "a" * 12, bytes(32))
PUBLIC = ("/console/", "/console/models", "/console/licenses/llama3.1")


async def post(api: Any, path: str, headers: dict[str, str] | None = None, **fields: str) -> Any:
    body = urlencode(fields)
    return await api("POST", path, by="nobody", headers={**FORM, **(headers or {})}, content=body)


async def get(api: Any, path: str, cookie: str = "") -> Any:
    return await api("GET", path, by="nobody", headers={"cookie": cookie} if cookie else {})


async def opened(api: Any, role: str = "deployer", entity: str = "acme") -> tuple[str, str]:
    """The cookie of an opened link, and the token that its forms carry."""
    token = (await api.offer(entity, role))["signatory_token"]
    answer = await post(api, "/console/sign/open", token=token)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/sign")
    cookie = answer.headers["set-cookie"].partition(";")[0]
    api._client.cookies.clear()
    page = await get(api, "/console/sign", cookie)
    return cookie, re.findall(r'name="form_token" value="([0-9a-f]{64})"', page.text)[0]


@pytest.mark.parametrize("path", [*PUBLIC, "/console/nowhere", f"/console/sign/{WRONG}", "/console/sign"])
async def test_every_page_is_closed_to_scripts_frames_caches_and_referrers(path: str, api: Any) -> None:
    page = await get(api, path)
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    for rule in ("default-src 'none'", "style-src 'self'", "form-action 'self'", "frame-ancestors 'none'"):
        assert rule in policy
    assert "script" not in policy
    assert "unsafe" not in policy
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "<script" not in page.text
    assert not re.search(r"""(?:src|href)=["'](?!/console|#)""", page.text)


async def test_the_session_is_a_strict_cookie_that_scripts_cannot_read(licensed: Any) -> None:
    token = (await licensed.offer("acme", "deployer"))["signatory_token"]
    answer = await post(licensed, "/console/sign/open", token=token)
    cookie = answer.headers["set-cookie"]
    for attribute in ("HttpOnly", "SameSite=strict", "Path=/console/sign", "Max-Age=3600"):
        assert attribute in cookie
    assert "Secure" not in cookie
    assert token not in cookie
    assert token not in answer.headers["location"]


async def test_over_https_the_cookie_is_secure(licensed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licensed.state.settings, "public_url", "https://paddock.example")
    token = (await licensed.offer("acme", "deployer"))["signatory_token"]
    answer = await post(licensed, "/console/sign/open", token=token)
    assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    "headers",
    [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "https://evil.example"}],
)
async def test_a_form_of_another_site_is_turned_away(headers: dict[str, str], licensed: Any) -> None:
    token = (await licensed.offer("acme", "deployer"))["signatory_token"]
    assert (await post(licensed, "/console/sign/open", headers, token=token)).status_code == 403
    cookie, form_token = await opened(licensed)
    for path in ("/console/sign", "/console/sign/close"):
        answer = await post(licensed, path, {**headers, "cookie": cookie}, form_token=form_token)
        assert answer.status_code == 403
    assert (await get(licensed, "/console/sign", cookie)).status_code == 200
    own = {"sec-fetch-site": "same-origin", "origin": "null"}
    assert (await post(licensed, "/console/sign/open", own, token=token)).status_code == 303


async def test_a_form_carries_its_own_sessions_token(licensed: Any) -> None:
    cookie, form_token = await opened(licensed)
    _, other = await opened(licensed)
    for wrong in ("", other):
        answer = await post(licensed, "/console/sign", {"cookie": cookie}, form_token=wrong, name="Jo")
        assert answer.status_code == 403
    answer = await post(licensed, "/console/sign", {"cookie": cookie}, form_token=form_token, name="Jo")
    assert answer.status_code == 422


async def test_guesses_at_a_link_are_slowed_down_and_other_links_open(licensed: Any) -> None:
    mine, other = [(await licensed.offer("acme", "deployer"))["signatory_token"] for _ in range(2)]
    wrong = format_key("ps", mine.split("_")[1], bytes(32))
    for _ in range(30):
        assert (await post(licensed, "/console/sign/open", token=wrong)).status_code == 401
    for token in (wrong, mine):
        answer = await post(licensed, "/console/sign/open", token=token)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    assert (await post(licensed, "/console/sign/open", token=other)).status_code == 303


@pytest.mark.parametrize("cookie", ["", "paddock-signing=", "paddock-signing=nonsense", f"paddock-signing={WRONG}"])
async def test_without_a_session_there_is_nothing_to_see(cookie: str, licensed: Any) -> None:
    for path in ("/console/sign", "/console/sign/receipt"):
        page = await get(licensed, path, cookie)
        assert page.status_code == 401
        assert "www-authenticate" not in page.headers
        assert "What to do next" in page.text


async def test_the_token_of_a_link_is_no_session(licensed: Any) -> None:
    token = (await licensed.offer("acme", "deployer"))["signatory_token"]
    assert (await get(licensed, "/console/sign", f"paddock-signing={token}")).status_code == 401
    cookie, _ = await opened(licensed)
    session = cookie.partition("=")[2]
    assert (await licensed("GET", "/v1/license-offers/current", by=session)).status_code == 401


async def test_a_session_sees_its_own_offer_alone(licensed: Any) -> None:
    mine, _ = await opened(licensed)
    await licensed.accept("globex", "deployer")
    assert "globex" not in (await get(licensed, "/console/sign", mine)).text
    assert (await get(licensed, "/console/sign/receipt", mine)).status_code == 404


async def test_what_others_typed_is_shown_as_text(licensed: Any) -> None:
    name = "<script>alert(1)</script> & Co"
    wish = {"id": "evil", "legal_name": name, "principal_place_of_business": "US"}
    await licensed("POST", "/v1/entities", wish, status=201)
    made = await licensed("POST", "/v1/tenants", {"id": "evil", "entity": "evil"}, status=201)
    licensed.tokens["evil"] = made["admin_token"]
    cookie, form_token = await opened(licensed, entity="evil")
    typed = '"><img src=x onerror=alert(1)>'
    page = await post(
        licensed, "/console/sign", {"cookie": cookie}, form_token=form_token, name=typed, affiliates=typed
    )
    assert page.status_code == 422
    assert "<script" not in page.text
    assert "<img" not in page.text
    assert "&lt;script&gt;" in page.text


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"name=%ff", b"&".join(b"a=1" for _ in range(100)), b"name=" + b"x" * 200_000]
)
async def test_what_is_no_form_of_ours_is_told_so(content: bytes, licensed: Any) -> None:
    cookie, _ = await opened(licensed)
    headers = {**FORM, "cookie": cookie}
    page = await licensed("POST", "/console/sign", by="nobody", headers=headers, content=content)
    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (422, "text/html")


async def test_a_careful_platform_asks_for_todays_users_too(licensed: Any) -> None:
    await licensed("PUT", "/v1/license-policy", {"threshold": "conservative"}, status=200)
    cookie, form_token = await opened(licensed)
    assert 'name="current"' in (await get(licensed, "/console/sign", cookie)).text
    answers = {
        "band": "le_700m", "method": "m", "affiliates_included": "yes", "name": "Jo", "title": "D", "authority": "a",
        "email": "jo@a.example", "jurisdiction": "us", "agree": "yes", "signature": "Jo",
    }  # fmt: skip
    missing = await post(licensed, "/console/sign", {"cookie": cookie}, form_token=form_token, **answers)
    assert 'href="#current"' in missing.text
    page = await post(licensed, "/console/sign", {"cookie": cookie}, form_token=form_token, **answers, current="7 000")
    assert (page.status_code, page.headers["location"]) == (303, "/console/sign/receipt")
    assert "7,000" in (await get(licensed, "/console/sign/receipt", cookie)).text


async def test_the_log_holds_no_token(licensed: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    token = (await licensed.offer("acme", "deployer"))["signatory_token"]
    for place in ("/console/sign/{}", "/sign/{}", "/console/sign/{}x", "/console/sign/{}/y", "/console/sign/x{}"):
        await get(licensed, place.format(token))
    await post(licensed, "/console/sign/open", token=token)
    access = [record for record in caplog.records if record.name.startswith("paddock_controlplane")]
    lines = [JsonFormatter().format(record) for record in access]
    paths = [json.loads(line).get("path", "") for line in lines]
    assert len([path for path in paths if "/***" in path]) == 5
    assert not [line for line in lines if token[20:] in line]


async def test_every_model_and_license_is_shown_with_what_it_asks(api: Any) -> None:
    catalog = packaged_catalog()
    models = (await get(api, "/console/models")).text.replace("&#39;", "'")
    for model in catalog.models.values():
        assert f"<code>{model.id}</code>" in models
    for entry in catalog.licenses.values():
        page = await get(api, f"/console/licenses/{entry.id}")
        assert page.status_code == 200
        shown = [clause.params["text"] for clause in entry.clauses if clause.type == "display"]
        for text in [*shown, *([entry.notice] if entry.notice else [])]:
            assert text in models
            assert text in page.text
        assert all(pin.canonical in page.text for pin in entry.texts)
        assert page.text.count('class="clause"') == len(entry.clauses) + len(catalog.restrictions_of(entry.id))
    assert (await get(api, "/console/licenses/none")).status_code == 404
    assert (await get(api, "/console/licenses/NONE!")).status_code == 404


async def test_the_console_is_no_part_of_the_api(api: Any) -> None:
    document = await api("GET", "/openapi.json", status=200)
    assert [path for path in document["paths"] if path.startswith("/console")] == []
    for path, kind in (("/console/style.css", "text/css"), ("/console/icon.svg", "image/svg+xml")):
        assert (await get(api, path)).headers["content-type"].startswith(kind)
