"""The status page in a browser: its numbers are those of /metrics, with and without its script; it shows no secret, takes no text
for HTML, loads nothing from elsewhere, and fits screens of 320 pixels in light and dark.
"""

import json
import re
import struct
from html.parser import HTMLParser
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from backing import Stored
from browser import Browser, chromium
from conftest import embedded_backend
from proxy import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Proxy
from rawsig import flip_bit
from test_operator_mistakes import admin, until

DOCUMENTED = Path(__file__).parents[2] / "docs/STATUS.md"
BUCKET = "shown-bucket"
# Names that requests bring, which a page that does not escape would take for elements.
HOSTILE_KEY = "<script>document.title='taken'</script>&\"'"
HOSTILE_CLIENT = "<img>"
STORAGE_SECRET = "the-storage-secret-0123456789"
OTHER_SECRET = "the-second-clients-secret"
UPSTREAMS = [
    {"name": "away", "endpoint": "http://127.0.0.1:1", "access_key_id": "AKIASTORAGE", "secret_access_key": STORAGE_SECRET, "max_retries": 0},
]
SECTIONS = {
    "metrics": {"by_client": True, "by_rule": True},
    "client": [
        {"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY, "access": "admin"},
        {"access_key_id": "second", "secret_access_key": OTHER_SECRET, "access": "read-only"},
    ],
    "bucket": [
        {"name": "away-*", "upstream": "away"},
        {"name": "archive-*", "formats": {"write": "native", "read": ["native", "cbc", "plaintext"]}, "binding": "none"},
        {"name": "*"},
    ],
}


class Page(HTMLParser):
    """The texts of a page's elements by the path that fills them, in order, without those of templates and hidden elements."""

    VOID = {"meta", "link", "input", "br", "img"}

    def __init__(self, text):
        super().__init__()
        self.texts, self.open, self.tags = {}, [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        attributes = dict(attributes)
        outer = self.open[-1] if self.open else ("", None, False)
        path = attributes.get("data-t", "").partition("|")[0] or None
        is_left_out = outer[2] or tag == "template" or "hidden" in attributes
        if path and not is_left_out:
            self.texts.setdefault(path, []).append("")
        if tag not in self.VOID:
            self.open.append((tag, path if not is_left_out else None, is_left_out))

    def handle_startendtag(self, tag, attributes):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        if tag in [name for name, *_ in self.open]:
            while self.open.pop()[0] != tag:
                pass

    def handle_data(self, data):
        if self.open and self.open[-1][1]:
            self.texts[self.open[-1][1]][-1] += data

    def number(self, path):
        return int(self.texts[path][0].replace("\u202f", ""))


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A proxy after known traffic: 3 objects written, 2 read, 1 missing, 1 altered, a storage that is away, an invented client."""
    chromium()
    directory = tmp_path_factory.mktemp("shown")
    backend = embedded_backend(directory)
    upstream = [{"name": "main", **backend.upstream}, *UPSTREAMS]
    with Proxy(directory / "proxy", upstream, backend.keyring, SECTIONS) as running:
        s3 = running.boto()
        s3.create_bucket(Bucket=BUCKET)
        for key in ("one", "two", HOSTILE_KEY):
            s3.put_object(Bucket=BUCKET, Key=key, Body=b"content" * 1000)
        for key in ("one", "two"):
            s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        stored = backend.store.read(BUCKET, HOSTILE_KEY)
        backend.store.write(BUCKET, HOSTILE_KEY, Stored(flip_bit(stored.body, 5), stored.metadata))
        invented = running.boto(access_key_id="not-there")
        for client, bucket, key in [(s3, BUCKET, "missing"), (s3, BUCKET, HOSTILE_KEY), (s3, "away-bucket", "k"), (invented, BUCKET, "one")]:
            with pytest.raises(ClientError):
                client.get_object(Bucket=bucket, Key=key)
        assert running.raw(access_key_id=HOSTILE_CLIENT).request("GET", f"/{BUCKET}/one").status == 403
        running.backend, running.admin = backend, f"http://{running.config.read_text().split('[admin]')[1].split(chr(34))[1]}"
        # Two samples, so that the charts have a step.
        until(lambda: len(document(running)["history"]["short"]["series"]["requests"]) >= 2, "samples")
        yield running


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser")) as running:
        yield running


def refreshed(browser, proxy):
    """The page, after its script has filled it once."""
    browser.open(f"{proxy.admin}/")
    browser.evaluate("refresh()")
    assert browser.evaluate("document.getElementById('live').className") == "live on", browser.problems


def document(proxy):
    status, text = admin(proxy, "/status.json")
    assert status == 200
    return json.loads(text)


def without_script(proxy, directory):
    """The page as a browser without JavaScript has it."""
    with Browser(directory / "without", "--blink-settings=scriptEnabled=false") as browser:
        browser.open(f"{proxy.admin}/")
        text = browser.source()
        assert browser.problems == []
    return text


def of_metrics(found, name, **labels):
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(value for line, value in found.items() if line.partition("{")[0] == name and all(label in line for label in wanted))


def require_numbers_of_metrics(page, found):
    for path, name, labels in [
        ("totals.requests", "s3veil_requests_total", {}),
        ("totals.errors.client", "s3veil_errors_total", {"side": "client"}),
        ("totals.errors.storage", "s3veil_errors_total", {"side": "storage"}),
        ("totals.logins_refused", "s3veil_logins_refused_total", {}),
        ("totals.responses_cut", "s3veil_responses_cut_total", {}),
        ("protection.integrity_failures", "s3veil_integrity_failures_total", {}),
        ("limits.requests.limit", "s3veil_requests_limit", {}),
    ]:
        assert page.number(path) == of_metrics(found, name, **labels), path
    assert page.number("totals.requests") >= 11 and page.number("protection.integrity_failures") == 1
    clients = dict(zip(page.texts["clients.busiest/.name"], page.texts["clients.busiest/.requests"], strict=True))
    for name, requests in clients.items():
        assert int(requests.replace("\u202f", "")) == of_metrics(found, "s3veil_client_requests_total", client=name), name
    assert set(clients) == {ACCESS_KEY_ID, "second", "other"}
    opened = dict(zip(page.texts["protection.opened/.format"], page.texts["protection.opened/.objects"], strict=True))
    assert opened == {"native": "2", "cbc": "0", "s3ec": "0", "plaintext": "0"}


def lists_apart(text):
    """The page, with the relative paths of each list named after the list."""
    parts = re.split(r'(data-list="[^"]*")', text)
    apart, current = [parts[0]], ""
    for mark, part in zip(parts[1::2], parts[2::2], strict=True):
        current = mark.split('"')[1]
        apart += [mark, part.replace('data-t=".', f'data-t="{current}/.')]
    return "".join(apart)


def test_the_page_is_complete_without_its_script(shown, tmp_path):
    before = shown.metrics()
    text = without_script(shown, tmp_path)
    page = Page(lists_apart(text))
    require_numbers_of_metrics(page, before)
    assert before["s3veil_requests_total" + '{operation="GetObject",status="200"}'] == 2
    assert page.texts["verdict.title"] == ["Degraded"], page.texts
    assert any("127.0.0.1:1" in reason for reason in page.texts["verdict.reasons/.message"])
    assert page.texts["protection.rules/.bound"] == ["realm and object key", "nothing", "realm and object key"]
    assert page.texts["protection.rules/.reads"][1] == "native, cbc (not authenticated), plaintext (not authenticated)"
    assert "GetObject" in page.texts["operations.busiest/.name"]
    assert page.texts["storages/.name"] == ["main", "away"]
    assert page.texts["keys.holders/.place"][0].startswith("local keyring ")
    assert page.texts["failures/.code"] and "IntegrityCheckFailed" in page.texts["failures/.code"]
    assert 'class="l l0" d="M' in text, "no chart is drawn"


def test_the_script_shows_what_the_server_shows(shown, browser, tmp_path):
    refreshed(browser, shown)
    live = Page(lists_apart(browser.evaluate("document.documentElement.outerHTML")))
    assert browser.evaluate("document.title") == "s3veil: Degraded"
    # Each chart is drawn by the same rules: as often as no sample comes between the two requests.
    same = """(async () => {
        const page = new DOMParser().parseFromString(await (await fetch("/")).text(), "text/html");
        const drawn = [...page.querySelectorAll("svg.long path")].map((path) => path.getAttribute("d"));
        const json = await (await fetch("/status.json")).json();
        fill(json, json, document.querySelector("main"));
        const filled = [...document.querySelectorAll("svg.long path")].map((path) => path.getAttribute("d"));
        return drawn.length > 0 && JSON.stringify(drawn) === JSON.stringify(filled);
    })()"""
    until(lambda: browser.evaluate(same), "the script and the server draw one chart differently")
    assert browser.problems == []
    require_numbers_of_metrics(live, shown.metrics())
    plain = Page(lists_apart(without_script(shown, tmp_path)))
    kept = ("totals", "protection", "config", "failures")
    steady = [path for path in plain.texts if path.split(".")[0].split("/")[0] in kept or "busiest" in path]
    moving = ("config.loaded_at", "_per_second", ".last_request_at", ".at", "latest_integrity")
    steady = [path for path in steady if not path.endswith(moving) and "latest_integrity" not in path]
    assert len(steady) > 40
    for path in steady:
        assert live.texts.get(path) == plain.texts[path], path


def test_texts_of_requests_are_texts(shown, browser, tmp_path):
    text = without_script(shown, tmp_path)
    page = Page(lists_apart(text))
    assert "img" not in page.tags, "This is a security issue: a client's name is an element of the page."
    assert HOSTILE_CLIENT in page.texts["refusals/.client"] and HOSTILE_KEY in page.texts["protection.latest_integrity_failures/.key"]
    assert text.count("<script>") == 1
    refreshed(browser, shown)
    assert browser.evaluate("document.querySelectorAll('img').length") == 0 and browser.evaluate("document.title") != "taken"
    assert browser.problems == []


def test_no_secret_is_shown(shown):
    keyring = Path(shown.backend.keyring["file"]).read_text()
    secrets = [SECRET_ACCESS_KEY, OTHER_SECRET, STORAGE_SECRET, *re.findall(r'secret = "([^"]+)"', keyring)]
    assert len(secrets) == 4
    for path in ("/", "/status.json", "/metrics"):
        text = admin(shown, path)[1]
        assert not [secret for secret in secrets if secret in text], f"This is a security issue: {path} has a secret."
        assert not [secret for secret in secrets if secret[:12] in text], f"This is a security issue: {path} has a part of a secret."


def names_in(value):
    if isinstance(value, dict):
        return set(value) | set().union(*map(names_in, value.values()))
    return set().union(*map(names_in, value)) if isinstance(value, list) else set()


def test_each_field_of_the_document_is_documented(shown):
    found = document(shown)
    text = DOCUMENTED.read_text()
    series = found["history"]["long"]["series"]
    quantiles = {name for name in series if re.search("_p[0-9]+$", name)}
    assert {name.rsplit("_", 1)[0] for name in quantiles} == {"get", "put", "list", "other", "first_byte", "storage"}
    missing = {name for name in names_in(found) - quantiles if not re.search(rf"`{name}`", text)}
    assert missing == set()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_wide_and_narrow_screens(shown, browser, scheme, tmp_path):
    for width in (1280, 320):
        browser.look(width, 900, scheme)
        refreshed(browser, shown)
        assert browser.evaluate("document.documentElement.scrollWidth") == width, "a part is wider than the screen"
        ground = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(244, 245, 248)", "dark": "rgb(17, 20, 27)"}[scheme]
        picture = browser.picture(tmp_path / f"{scheme}-{width}.png").read_bytes()
        assert struct.unpack(">I", picture[16:20])[0] == width and len(picture) > 20_000
    assert browser.problems == []


def test_the_page_lets_nothing_else_load(shown):
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{shown.admin}/", timeout=10) as response:
        policy, kind = response.headers["content-security-policy"], response.headers["x-content-type-options"]
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy and "http" not in policy and kind == "nosniff"
