"""A run's page, from its first epoch to the tried blob, as a browser shows it."""

import html
import re
import shutil
import subprocess

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from test_train_detect import experiment

import toys
from patchnet import cli
from patchnet.evaluate.val import answered
from patchnet.report import run as report
from patchnet.train import loop, quantize
from patchnet.train.experiment import to_toml

SHORT = {"epochs": 2, "train": "digits_train", "batch": 128, "evaluate_every": 1}
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A run that was trained for two epochs, with the pages after each."""
    pages = []
    out = loop.run("digits", tmp_path_factory.mktemp("runs") / "digits", False,
                   lambda run: pages.append(report.write(run).read_text()), **SHORT)  # fmt: skip
    return out, pages


def headings(page: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", page)


def test_it_is_there_after_each_epoch(digits):
    _, pages = digits
    assert [headings(page) for page in pages] == [
        ["Training", "A batch as the network sees it", "By hand", "config.toml"]
    ] * 2
    assert "One epoch" in pages[0] and "2 epochs" in pages[1] and "lr" in pages[1]


def test_it_has_what_engines_say(digits, capsys):
    out, _ = digits
    quantize.run(out, epochs=0, calibration=32)
    assert cli.main(["pack", str(out)]) == 0
    assert cli.main(["report", str(out), "--limit", "40"]) == 0
    page = (out / "report.html").read_text()
    assert headings(page)[:6] == [
        "Engines", "Training", "Memory over the network", "Confusion matrix", "Worst mistakes", "Least sure",
    ]  # fmt: skip
    by_hand = html.unescape(page[page.index("By hand") :])
    for line in (
        f"patchnet train {out}/config.toml --out {out}-again",
        f"patchnet quantize {out}-again --epochs 0 --lr 0.0002 --calibration 32",
        f"patchnet pack {out}-again --budget ",
        f"patchnet val {out} --data digits_test --on float,host",
        f"patchnet deploy {out}",
    ):
        assert line in by_hand
    for text in ("<td>float</td>", "<td>host</td>", "RAM (arena)", "480 MHz"):
        assert text in page
    assert cli.main(["report", str(out), "--data", "digits", "--limit", "10", "--on", "host", "--clock", "400M"]) == 0
    page = (out / "report.html").read_text()
    assert "<td>float</td>" not in page and "400 MHz" in page
    assert cli.main(["report", "nowhere"]) == cli.USER_ERROR
    assert capsys.readouterr().err.splitlines()[-1].startswith("patchnet: nowhere: wanted a run")


def test_it_has_boxes(tmp_path):
    toys.save(tmp_path / "train.npz", 32)
    toys.save(tmp_path / "test.npz", 8, seed=1)
    (tmp_path / "toy.toml").write_text(to_toml(experiment(train=str(tmp_path / "train.npz"))))
    out = loop.run(tmp_path / "toy.toml", tmp_path / "run", epochs=1)
    asked = answered(out, str(tmp_path / "test.npz"), ("float",))
    page = report.write(out, asked).read_text()
    assert headings(page)[2:5] == ["Precision and recall", "Classes", "What is there, and what was found"]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_browser_shows_it(digits, tmp_path):
    out, _ = digits
    path, shot = report.write(out), tmp_path / "page.png"
    shown = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--screenshot={shot}", f"file://{path.resolve()}"]
    done = subprocess.run([*shown, "--window-size=1100,900"], capture_output=True, text=True, timeout=120)
    assert shot.stat().st_size > 10_000, done.stderr
    assert "ERR_" not in done.stderr
