"""The page at GET /, in a real browser."""

import contextlib
import gzip
import os
import pathlib
import re
import time

import dns.message
import dns.name
import pytest
from selenium.webdriver.common.keys import Keys

from tests.support import dnsclient
from tests.support.browser import DESK, PHONE, Browser
from tests.support.sidecar import PORT
from tests.support.tcpclient import connects
from tests.support.waiting import PATIENCE, wait_until
from tests.support.world import SANDBOX_V4

PAGE = f"http://{SANDBOX_V4}:{PORT}/"
RULES = {"egress": [{"action": "deny", "target": "*.wild.test"}, {"action": "allow", "target": "*.allowed.test"}]}
BINARY_BYTES_MAX = 16 * 1024


@pytest.fixture(scope="module")
def browser(world, tmp_path_factory):
    with contextlib.closing(Browser(world.internet, tmp_path_factory.mktemp("browser"))) as one:
        yield one


@pytest.fixture
def page(browser, start):
    """page(RULES=…) starts a sidecar and opens its page; what the browser complains of fails the test."""
    def open_one(**settings):
        sidecar = start(**{"RULES": RULES, **settings})
        browser.complaints()
        browser.open(PAGE)
        return sidecar
    yield open_one
    browser.look("light", DESK)


def _rows(browser):
    """What the table shows, by its first two columns."""
    return {name: cells for name, *cells in browser.run("""
        return [...document.querySelectorAll("#tries tbody tr:not(.panel)")].map(tr => [
            tr.querySelector("th").innerText, ...[...tr.querySelectorAll("td")].map(td => td.innerText.trim())])""")}


def _wait_row(browser, name, condition=lambda cells: True, timeout=5.0):
    def there():
        cells = _rows(browser).get(name)
        return cells if cells and condition(cells) else None
    return wait_until(there, timeout, what=f"the row of {name}")


def _row_button(browser, name, text):
    def there():
        return browser.run("""
            const row = [...document.querySelectorAll("#tries tbody tr")].find(
                tr => tr.querySelector("th")?.innerText === arguments[0]);
            return [...row?.querySelectorAll("button") ?? []].find(b => b.innerText === arguments[1])""", name, text)
    return wait_until(there, what=f"{text} of {name}")


# --- what is served ---

def test_page_is_small_and_whole_and_allows_itself_little(start):
    sidecar = start(TOKEN="secret")  # which it does not need
    plain = sidecar.request("GET", "/")
    assert (plain.status, plain.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "Content-Encoding" not in plain.headers and plain.text.startswith("<!doctype html>")
    assert not re.search(r"https?:|//\w+\.|\son\w+=|\sstyle=", plain.text), "nothing from elsewhere, nothing in line"
    rules = dict(part.strip().split(" ", 1) for part in plain.headers["Content-Security-Policy"].split(";"))
    for name in "script-src", "style-src":
        assert re.fullmatch(r"'sha256-[\w+/]{43}='", rules[name]), rules
    assert (rules["default-src"], rules["connect-src"], rules["frame-ancestors"]) == ("'none'", "'self'", "'none'")
    assert plain.headers["X-Content-Type-Options"] == "nosniff"
    head = sidecar.request("HEAD", "/", headers={"Accept-Encoding": "gzip"})
    assert head.headers["Content-Encoding"] == "gzip"
    assert int(head.headers["Content-Length"]) < BINARY_BYTES_MAX
    assert sidecar.request("POST", "/").headers["Allow"] == "GET, HEAD"


def test_packed_page_is_the_same(world, start):
    sidecar = start()
    packed = world.sandbox.run("curl", "-s", "-H", "Accept-Encoding: gzip", f"http://127.0.0.1:{PORT}/", text=False)
    assert gzip.decompress(packed.stdout).decode() == sidecar.request("GET", "/").text


# --- what it shows ---

def test_tries_are_shown_within_a_second(world, page, browser):
    page()
    browser.wait_text("enforcing", "#state")
    delays = []
    for name in "www.allowed.test", "a.wild.test", "b.wild.test":
        dnsclient.ask(world.sandbox, name)
        answered = time.monotonic()
        _wait_row(browser, name)
        delays.append(time.monotonic() - answered)
    assert min(delays) < PATIENCE, "on a machine that is busy with other tests, one of three"
    for _ in range(2):
        dnsclient.ask(world.sandbox, "www.allowed.test")
    assert not connects(world.sandbox, "198.51.100.9")
    verdict, rule, denied, allowed, *_ = _wait_row(browser, "a.wild.test")
    assert (verdict, rule, denied, allowed) == ("denied", "*.wild.test", "1×", "")
    verdict, rule, denied, allowed, latency, *_ = _wait_row(browser, "www.allowed.test", lambda cells: cells[3] == "3×")
    assert (verdict, denied, latency) == ("allowed", "", "cached")
    _wait_row(browser, "www.allowed.test", lambda cells: cells[1] == "*.allowed.test")
    verdict, rule, denied, *_ = _wait_row(browser, "198.51.100.9 tcp/80")
    assert (verdict, rule, denied) == ("denied", "default deny", "1×")
    dnsclient.ask(world.sandbox, "api.allowed.test")
    assert re.fullmatch(r"< 1 ms|\d+ ms", _wait_row(browser, "api.allowed.test")[4])
    wait_until(lambda: browser.text("#count") == "2", timeout=15, what="the leases to be counted")
    assert browser.text("#mode") == "dns+nft" and re.search(r"Version\s+\d+\.\d+", browser.text("header"))
    assert not browser.complaints()


def test_past_is_shown_too_and_can_be_filtered_by_keyboard(world, page, browser):
    sidecar = page()
    browser.driver.get("about:blank")
    for name in "www.allowed.test", "a.wild.test", "b.wild.test", "www.other.test":
        dnsclient.ask(world.sandbox, name)
    sidecar.wait_event("denied", target_host="www.other.test")
    browser.driver.get(PAGE)

    def names():
        """Not the addresses: what the sandbox still owed the browser's former connections may be among them."""
        return [name for name in _rows(browser) if name.endswith(".test")]
    wait_until(lambda: len(names()) == 4, what="all that was asked for")
    assert names()[0] == "www.other.test", "the latest is on top"
    browser.one("body").send_keys("/wild")
    assert browser.run("return document.activeElement.id") == "filter"
    wait_until(lambda: set(_rows(browser)) == {"a.wild.test", "b.wild.test"}, what="the filter")
    browser.one("#filter").clear()
    browser.one("#filter").send_keys(" ", Keys.BACKSPACE)
    browser.button("Allowed 1").send_keys(Keys.ENTER)
    wait_until(lambda: set(_rows(browser)) == {"www.allowed.test"}, what="those allowed")
    next(button for button in browser.all("button") if re.fullmatch(r"All \d+", button.text)).send_keys(Keys.ENTER)
    _row_button(browser, "a.wild.test", "a.wild.test").send_keys(Keys.ENTER)
    browser.wait_text("a.wild.test is denied now: the policy's rule “deny *.wild.test” decides.", ".panel")
    browser.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    wait_until(lambda: not browser.all(".panel"), what="the panel to close")
    assert not browser.complaints()


def test_denied_name_is_allowed_in_two_clicks(world, page, browser):
    sidecar = page()
    dnsclient.ask(world.sandbox, "www.other.test")
    _row_button(browser, "www.other.test", "Allow…").click()
    browser.wait_text("www.other.test is denied now: no rule names it, and the default is deny.", ".panel")
    browser.button("Allow *.other.test", ".panel")
    browser.button("Allow www.other.test", ".panel").click()
    browser.wait_text("Allowed: www.other.test", "#told")
    assert sidecar.policy()["egress"][0] == {"action": "allow", "target": "www.other.test"}
    browser.wait_text("www.other.test is allowed now", ".panel")
    *_, act = _wait_row(browser, "www.other.test", lambda cells: cells[1] == "allowed now: www.other.test")
    assert act == ""
    assert dnsclient.addresses(dnsclient.ask(world.sandbox, "www.other.test")) == ["203.0.113.66"]
    browser.run("document.querySelector('h1').scrollIntoView()")
    _wait_row(browser, "www.other.test", lambda cells: (cells[0], cells[2], cells[3]) == ("allowed", "1×", "1×"))
    wait_until(lambda: '"target": "www.other.test"' in browser.one("#policy").get_attribute("value"), what="the editor")
    browser.button("Deny www.other.test", ".panel").click()
    browser.wait_text("www.other.test is denied now: the policy's rule “deny www.other.test” decides.", ".panel")
    assert not browser.complaints()


def test_what_no_policy_can_allow_is_said(world, page, browser, tmp_path):
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "deny.always").write_text("never.wild.test\n")
    page()
    dnsclient.ask(world.sandbox, "never.wild.test")
    _row_button(browser, "never.wild.test", "Allow…").click()
    browser.wait_text("“deny never.wild.test” in the file deny.always decides, and no policy changes that", ".panel")
    browser.button("Allow never.wild.test", ".panel").click()
    browser.wait_text("never.wild.test is denied now", ".panel")
    assert not browser.complaints()


def test_names_beyond_the_limit_are_told_apart(world, page, browser):
    page(DNS_NAMES_PER_MINUTE="1")
    for name in "www.allowed.test", "api.allowed.test":
        dnsclient.ask(world.sandbox, name)
    _wait_row(browser, "api.allowed.test", lambda cells: cells[1] == "*.allowed.test (too many names)")
    _row_button(browser, "api.allowed.test", "api.allowed.test").click()
    browser.wait_text("Too many new names below this wildcard", ".panel")


def test_rules_may_be_called_like_words_of_the_page(world, page, browser):
    names = "dns", "dot", "doh", "constructor"
    page(RULES={"egress": [{"action": "deny", "target": name} for name in names]})
    for name in names:
        dnsclient.ask(world.sandbox, name)
        _wait_row(browser, name, lambda cells, name=name: (cells[1], cells[-1]) == (name, "Allow…"))
        _row_button(browser, name, name).click()
        browser.wait_text(f"the policy's rule “deny {name}” decides", ".panel")
        assert "refused, whatever" not in browser.text(".panel") and "blocked" not in browser.text(".panel")
        _row_button(browser, name, name).click()
    assert not connects(world.sandbox, "203.0.113.10", 853)
    _wait_row(browser, "203.0.113.10 tcp/853", lambda cells: (cells[1], cells[-1]) == ("dot", ""))
    assert not browser.complaints()


HOSTILE = [b"<script>hacked=1</script>", b"<img src=x onerror=hacked=1>", b"\"'><svg onload=hacked=1>", b"&lt;b&gt;",
           b"${hacked=1}", b"\xe2\x80\xae\xf0\x9f\x98\x80\xff", b"javascript:hacked=1", b"a\x00b\nc"]


def test_hostile_names_are_text(world, page, browser):
    sidecar = page()
    for label in HOSTILE:
        name = dns.name.Name([label, b"wild", b"test", b""])
        dnsclient.exchange(world.sandbox, dns.message.make_query(name, "A"))
    wait_until(lambda: len(_rows(browser)) == len(HOSTILE), what="all of them")
    wait_until(lambda: len(sidecar.events("denied")) == len(HOSTILE), what="the records")
    shown = set(_rows(browser))
    assert shown == {event["target.host"] for event in sidecar.events("denied")}
    assert any(text.startswith("\\060script\\062hacked") for text in shown)
    for button in browser.all("#tries th button"):
        browser.run("arguments[0].click()", button)
    wait_until(lambda: len(browser.all(".panel")) == len(HOSTILE), what="all panels")
    browser.one("#policy").clear()
    browser.one("#policy").send_keys('{"egress":[{"target":"<img src=x onerror=hacked=1>"}]}')
    browser.button("Dry run").click()
    browser.wait_text("<img src=x onerror=hacked=1>", "#forecast")
    assert browser.run("return typeof hacked") == "undefined"
    assert not browser.all("#tries script, #tries img, #tries svg, #tries b, #forecast img")
    assert [c for c in browser.complaints() if "400" not in c] == []


def test_page_could_not_run_markup_if_it_wanted_to(page, browser):
    page()
    browser.wait_text("enforcing", "#state")
    refused = browser.run("""
        try { document.body.insertAdjacentHTML("beforeend", "<b>x</b>"); return "taken" } catch (error) { return error.name }""")
    assert refused == "TypeError"
    elsewhere = browser.driver.execute_async_script(
        "const done = arguments[0]; fetch('http://192.0.2.53/').then(() => done('sent'), error => done(error.name))")
    assert elsewhere == "TypeError" and any("Content Security Policy" in one for one in browser.complaints())


# --- the token ---

def test_nothing_is_shown_without_the_token(world, page, browser):
    sidecar = page(TOKEN="secret")
    dnsclient.ask(world.sandbox, "www.other.test")
    sidecar.wait_event("denied")
    browser.wait_text("Sign in", "#sign")

    def shows_nothing():
        return browser.text().split() == browser.text("header h1").split() + browser.text("#sign").split() and \
            browser.run("return !document.querySelector('tbody').children.length && !policy.value")
    assert shows_nothing()
    browser.one("#token").send_keys("wrong", Keys.ENTER)
    browser.wait_text("This token is not the one.", "#wrong")
    assert shows_nothing()
    browser.one("#token").send_keys("secret", Keys.ENTER)
    _wait_row(browser, "www.other.test")
    assert browser.run("return [sessionStorage.length, localStorage.length, document.cookie, location.href]") == \
        [1, 0, "", PAGE]
    browser.driver.refresh()
    _wait_row(browser, "www.other.test")
    browser.button("Sign out").click()
    browser.wait_text("Sign in", "#sign")
    wait_until(shows_nothing, what="everything to go")
    assert browser.run("return sessionStorage.length") == 0
    browser.one("#token").send_keys("secret", Keys.ENTER)
    assert _wait_row(browser, "www.other.test")[2] == "1×", "nothing is left of the first visit"
    assert [c for c in browser.complaints() if "401" not in c] == []


# --- the policy ---

def _edit(browser, text):
    browser.run("policy.value = arguments[0]; policy.dispatchEvent(new Event('input'))", text)


def test_policy_is_tried_before_it_is_applied(world, page, browser):
    sidecar = page()
    dnsclient.ask(world.sandbox, "www.allowed.test")
    wait_until(lambda: browser.one("#policy").get_attribute("value"), what="the policy")
    apply = browser.one("#apply")
    assert not apply.is_enabled()
    _edit(browser, '{"egress": [{"action": "allow", "target": "*.other.test"}]')
    browser.button("Dry run").click()
    browser.wait_text("invalid policy", "#forecast")
    assert not apply.is_enabled()
    _edit(browser, '{"egress": [{"action": "allow", "target": "*.other.test"}]}')
    browser.button("Dry run").click()
    browser.wait_text("+1 rule, −2 rules; default deny; 1 learned address without permission", "#forecast")
    browser.wait_text("+ allow *.other.test", "#forecast")
    assert sidecar.policy() == {**RULES, "defaultAction": "deny"}
    browser.one("#policy").send_keys(" ")
    assert not apply.is_enabled(), "it is another text now"
    browser.button("Dry run").click()
    wait_until(apply.is_enabled, what="Apply")
    apply.click()
    browser.wait_text("The policy is in force.", "#told")
    assert sidecar.policy()["egress"] == [{"action": "allow", "target": "*.other.test"}]
    _wait_row(browser, "www.allowed.test", lambda cells: cells[1] == "denied now: default deny")
    assert [c for c in browser.complaints() if "400" not in c] == []


def test_policy_of_somebody_else_is_not_overwritten(page, browser):
    sidecar = page()
    wait_until(lambda: browser.one("#policy").get_attribute("value"), what="the policy")
    _edit(browser, "{}")
    browser.button("Dry run").click()
    wait_until(browser.one("#apply").is_enabled, what="Apply")
    sidecar.request("PATCH", "/policy", [{"action": "allow", "target": "theirs.test"}])
    browser.wait_text("changed meanwhile", "#edit-note")
    assert browser.one("#policy").get_attribute("value") == "{}", "nothing that is being written is lost"
    browser.button("Apply").click()
    browser.wait_text("Somebody else changed the policy meanwhile", "#forecast")
    assert sidecar.policy()["egress"][0]["target"] == "theirs.test"
    browser.button("Reload").click()
    wait_until(lambda: "theirs.test" in browser.one("#policy").get_attribute("value"), what="their policy")
    sidecar.request("PATCH", "/policy", [{"action": "allow", "target": "more.test"}])
    wait_until(lambda: "more.test" in browser.one("#policy").get_attribute("value"), what="it to follow")


def test_leases_are_listed(world, page, browser):
    page()
    dnsclient.ask(world.sandbox, "www.allowed.test")
    browser.one("#leases summary").click()
    browser.wait_text("203.0.113.10", "#leases")
    browser.wait_text("www.allowed.test", "#leases")


# --- what is not as it should be ---

def test_audit_mode_is_loud(world, page, browser):
    page(MODE="dns+nft+audit")
    browser.wait_text("Nothing is enforced.", "#loud")
    browser.wait_text("observing", "#state")
    dnsclient.ask(world.sandbox, "a.wild.test")
    _row_button(browser, "a.wild.test", "a.wild.test").click()
    browser.wait_text("In audit mode it passes in any case.", ".panel")


def test_sidecar_that_goes_and_comes_back(world, page, browser):
    sidecar = page()
    dnsclient.ask(world.sandbox, "a.wild.test")
    _wait_row(browser, "a.wild.test")
    sidecar.kill()
    browser.wait_text("No answer from the sidecar", "#state")
    sidecar.restart().wait_healthy()
    dnsclient.ask(world.sandbox, "b.wild.test")
    _wait_row(browser, "b.wild.test", timeout=15)
    browser.wait_text("enforcing", "#state", timeout=15)
    assert "a.wild.test" in _rows(browser)


# --- how it looks ---

CONTRAST = """
    const luminance = c => {
        const [r, g, b] = c.match(/[\\d.]+/g).map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
        return .2126 * r + .7152 * g + .0722 * b;
    };
    const behind = node => {
        for (; node; node = node.parentElement) {
            const c = getComputedStyle(node).backgroundColor;
            if (!c.endsWith(", 0)")) return c;
        }
        return getComputedStyle(document.documentElement).backgroundColor;
    };
    const bad = [];
    for (const node of document.querySelectorAll("body *")) {
        const own = [...node.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
        if (!own || !node.checkVisibility() || node.disabled || node.matches("script, style")) continue;
        const [a, b] = [getComputedStyle(node).color, behind(node)].map(luminance).sort((x, y) => y - x);
        if ((a + .05) / (b + .05) < 4.5) bad.push(node.outerHTML.slice(0, 80));
    }
    return bad"""


def test_looks(world, page, browser, tmp_path):
    """Legible in light and dark, and on a phone nothing sticks out; EGRESS_SCREENSHOTS=DIR keeps what was seen."""
    folder = pathlib.Path(os.environ.get("EGRESS_SCREENSHOTS", tmp_path))
    page(RULES={"egress": [{"action": "deny", "target": "*.wild.test"}, {"action": "allow", "target": "*.allowed.test"},
                           {"action": "allow", "target": "203.0.113.0/24"}]})
    for name in ("telemetry.wild.test", "www.other.test", "www.allowed.test", "api.allowed.test", "api.allowed.test",
                 "deep.down.allowed.test", "a-name-that-is-as-long-as-names-of-build-artefacts.eu-central-1.wild.test"):
        dnsclient.ask(world.sandbox, name)
    for address in "198.51.100.9", "203.0.113.77":
        connects(world.sandbox, address)
    wait_until(lambda: len(_rows(browser)) == 8, what="the rows")
    _row_button(browser, "www.other.test", "Allow…").click()
    browser.button("Allow www.other.test", ".panel")
    browser.run("document.activeElement.blur()")
    wait_until(lambda: browser.text("#count") != "0", timeout=15, what="the leases to be counted")
    for scheme, size, name in ("light", DESK, "light"), ("dark", DESK, "dark"), ("light", PHONE, "phone"):
        browser.look(scheme, size)
        wait_until(lambda: browser.run("return innerWidth") == size[0], what="the size")
        assert browser.run(CONTRAST) == [], scheme
        assert browser.run("return document.documentElement.scrollWidth") <= size[0]
        picture = folder / f"{name}.png"
        assert browser.driver.save_screenshot(str(picture)) and picture.stat().st_size < 150_000
