"""The docs as a site: built, strictly; every link and anchor leads somewhere, and nothing comes from elsewhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = ("http", "https", "mailto", "data")


class Page(HTMLParser):
    """`links` lead to others, `parts` are what the page is shown with, `names` what can be linked to; `text` is
    that of paragraphs and tables, without code."""

    def __init__(self, path: Path):
        super().__init__()
        self.links: list[str] = []
        self.parts: list[str] = []
        self.names: set[str] = set()
        self.text: list[str] = []
        self.inside = {"p": 0, "td": 0, "code": 0}
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        given = {name: value for name, value in attrs if value is not None}
        self.names.update(given[name] for name in ("id", "name") if name in given)
        if tag in self.inside:
            self.inside[tag] += 1
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        self.parts += [given[name] for name in ("src", "href") if name in given and tag != "a"]

    def handle_endtag(self, tag):
        if tag in self.inside:
            self.inside[tag] -= 1

    def handle_data(self, data):
        if (self.inside["p"] or self.inside["td"]) and not self.inside["code"]:
            self.text.append(data)


def faults(site: Path) -> list[str]:
    """Links and anchors that lead nowhere, and what a page would fetch from elsewhere."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        where = path.relative_to(site)
        found += [f"{where}: shown with {part}" for part in page.parts if urlsplit(part).scheme in OUTSIDE[:2]]
        for link in page.links + page.parts:
            parts = urlsplit(link)
            if parts.scheme in OUTSIDE or path.name == "404.html":  # which is shown anywhere, and has a server's paths
                continue
            target = path.parent.joinpath(unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                found.append(f"{where}: {link} is missing")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].names:
                found.append(f"{where}: {link} has no such place")
    return found


def test_faults_are_found(tmp_path):
    (tmp_path / "b.html").write_text('<p id="here">')
    links = "b.html#here", "b.html#there", "c.html", "https://elsewhere/", "#own"
    body = "".join(f'<a href="{link}">' for link in links) + '<script src="https://elsewhere/x.js">'
    (tmp_path / "a.html").write_text(f'<p id="own">{body}')
    told = ["shown with https://elsewhere/x.js", "b.html#there has no such place", "c.html is missing"]
    assert faults(tmp_path) == [f"a.html: {one}" for one in told]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("material", reason="needs mkdocs: `make docs` installs it")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr
    return out


def test_links_lead_somewhere(site):
    assert faults(site) == []


def test_every_page_is_in_it(site):
    for page in (ROOT / "docs").rglob("*.md"):
        assert (site / page.relative_to(ROOT)).with_suffix(".html").is_file(), page


def test_no_markup_is_left(site):
    """What one Markdown takes for a list or a table another may not."""
    left = re.compile(r"^\s*(?:[-*|]|#+|\d+\.) +\S.*|.*(?:\]\(|\*\*|```).*", re.M)
    assert [(path.name, line[0].strip()) for path in site.rglob("*.html") for line in left.finditer(read(path))] == []


def read(path: Path) -> str:
    return "".join(Page(path).text)
