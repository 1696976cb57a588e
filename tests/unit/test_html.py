"""Pages that need nothing beside them."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from patchnet.data.sounds import Clip
from patchnet.tasks import html

VOID = {"meta", "img"}


class Tags(HTMLParser):
    """Whether tags close as they open."""

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open += [tag] * (tag not in VOID)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def inside(element: str) -> bytes:
    return base64.b64decode(re.search(r"base64,([^\"]+)", element)[1])


def test_nothing_is_fetched_and_text_stays_text():
    figure = Figure()
    figure.subplots().plot([1, 2])
    parts = [
        html.Section("<i>", html.table(("a&b",), [("<script>",)])),
        html.Section("all", html.drawing(figure, "<x>") + html.picture(np.zeros((4, 4, 3), np.uint8)) + html.text("<")),
        html.Section("sound", html.gallery([(html.sound(Clip(np.zeros(8, np.int16), 8000)), "it")]) + html.note("<")),
    ]
    page = html.page("<t>", [("<w>", "<v>")], parts)
    Tags(page)
    for text in ("<script>", "<i>", "<t>", "<v>", "<w>", "<x>"):
        assert text not in page
    shown = re.sub(r"base64,[^\"]+", "", page)
    assert "http" not in shown and "<script" not in shown and set(re.findall(r'src="(\w+):', page)) == {"data"}


def test_pictures_are_enlarged_by_whole_numbers_and_shrunk_to_fit():
    small = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert 'width="144" height="144"' in html.picture(small)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(inside(html.picture(small))))), small)
    large = html.picture(np.zeros((600, 300, 1), np.uint8))
    assert 'width="72" height="144"' in large
    assert Image.open(io.BytesIO(inside(html.picture(np.zeros((600, 300, 3), np.uint8), whole=True)))).size == (
        300,
        600,
    )


def test_sounds_are_wav():
    assert inside(html.sound(Clip(np.arange(5, dtype=np.int16), 8000)))[:4] == b"RIFF"


def test_a_confusion_matrix_has_recall_and_precision_in_its_margins():
    table = html.confusion(np.array([[8, 2, 0], [0, 0, 0], [1, 0, 4]]), ("a", "<b", "c"))
    Tags(table)
    cells = [re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<t[dh].*?</t[dh]>", table)]
    rows = [cells[i : i + 5] for i in range(0, len(cells), 5)]
    assert rows[1] == ["a", "8", "2", "", "80.0%"] and rows[2][4] == "–" and rows[3][4] == "80.0%"
    assert rows[4] == ["precision", "88.9%", "0.0%", "100.0%", "80.0%"] and rows[0][2] == "&lt;b"
