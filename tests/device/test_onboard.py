"""`val --on PORT` and `bench --on PORT`, the emulated board standing for one at a serial port."""

import contextlib
import json
import socket
import threading

import numpy as np
import pytest
from test_deploy import Emulator, Plug

from conftest import require
from patchnet import Model, cli, data
from patchnet.blob import files
from patchnet.board import onboard, remote, romfs
from patchnet.board.link import Link
from patchnet.data import sounds as sounds_
from patchnet.evaluate import engines
from patchnet.models import FOLDER
from patchnet.tasks.classify import answers as classifying

PICTURES = 12
SOUNDS = FOLDER.parent / "sounds"


def emulator(tmp_path_factory, *networks):
    """A board with the networks in its ROMFS. They get there beforehand: test_deploy is about how."""
    require("qemu")
    storage = tmp_path_factory.mktemp("onboard") / "storage"
    image = romfs.build({f"{name}.pnb": files.model_file(name, "host").read_bytes() for name in networks})
    return Emulator(storage, rom=image if networks else b"")


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """All networks that are used here lie on it, as sending one takes long."""
    on = emulator(tmp_path_factory, "digits", "spoken-digits", "bccd")
    yield on
    on.cut()


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """None is on it."""
    on = emulator(tmp_path_factory)
    yield on
    on.cut()


@pytest.fixture
def counted(monkeypatch):
    """The frames that boards are asked, by their first byte."""
    frames = []
    ask = Link.ask

    def count(self, frame, seconds=20):
        frames.append(frame[0])
        return ask(self, frame, seconds)

    monkeypatch.setattr(Link, "ask", count)
    return frames


def val(on, capsys, *more):
    words = ["val", "digits", "--data", "digits", "--limit", str(PICTURES), "--on", on, "--json", *more]
    status = cli.main(words)
    return status, json.loads(capsys.readouterr().out)


def test_val_gives_the_scores_of_the_pc(bare, capsys, counted):
    status, (host, there) = val(f"host,{bare.port}", capsys)
    assert status == 0 and there["on"] == bare.port and there["identical"] is True
    assert (there["n"], there["ram"], there["top1"]) == (PICTURES, host["ram"], host["top1"])
    assert counted.count(3) == PICTURES


@pytest.fixture
def clips(tmp_path):
    """A set of clips, a folder for each class: the shipped ones, and two that are longer than the network hears."""
    for path in SOUNDS.glob("*.wav"):
        clip = sounds_.read_sound(path)
        folder = tmp_path / "clips" / path.name[0]
        folder.mkdir(parents=True)
        (folder / "0.wav").write_bytes(path.read_bytes())
        if path.name[0] in "37":
            longer = np.pad(clip.pcm, (15_000, 21_000), constant_values=9)
            (folder / "1.wav").write_bytes(sounds_.to_wav(longer, clip.rate))
    return tmp_path / "clips"


def test_clips_get_the_scores_of_the_pc(board, capsys, clips, monkeypatch):
    sent = []
    ask_board = onboard.Session.ask
    monkeypatch.setattr(onboard.Session, "ask", lambda self, x: sent.append(len(x)) or ask_board(self, x))
    words = ["val", "spoken-digits", "--data", str(clips), "--on", f"host,{board.port}", "--json"]
    assert cli.main(words) == 0
    host, there = json.loads(capsys.readouterr().out)
    assert there["identical"] is True and (there["n"], there["ram"]) == (len(sent), host["ram"])
    assert there["top1"] == host["top1"] > 0.5 and len(sent) == len(list(clips.glob("*/*.wav")))
    assert max(sent) == Model("spoken-digits").clip_samples > min(sent)


def test_clips_go_on_where_the_line_was_cut(board, counted, clips):
    path, sounds = files.model_file("spoken-digits", "host"), data.load(clips)
    plug = Plugs(board.port, [40_000, 50_000])
    answers, _ = engines.ask(plug.url, path, sounds, lambda _n: None, classifying.WORDS)
    plug.close()
    assert plug.cuts == 2 and len(sounds) <= counted.count(4) <= len(sounds) + plug.cuts
    straight, _ = engines.ask(board.port, path, sounds, lambda _n: None, classifying.WORDS)
    assert answers == straight


def test_a_network_on_the_board_is_not_sent(board, capsys, counted):
    status, there = val(board.port, capsys)
    assert status == 0 and there["n"] == PICTURES
    assert counted.count(0) == PICTURES  # each picture is one frame, the network would be 17
    assert counted[0] == 1


def test_an_unplugged_board_goes_on_where_it_was(board, counted):
    """The line is cut twice; what has been answered is not asked again."""
    plug = Plugs(board.port, [30_000, 35_000])
    path = files.model_file("digits", "host")
    pictures = [(str(i), np.full((64, 64), 10 * i, np.uint8)) for i in range(PICTURES)]
    answers, _ = onboard.ask(plug.url, path, pictures, lambda _n: None, classifying.WORDS)
    plug.close()
    assert plug.cuts == 2
    assert PICTURES <= counted.count(3) <= PICTURES + plug.cuts
    straight, _ = onboard.ask(board.port, path, pictures, lambda _n: None, classifying.WORDS)
    assert answers == straight


def test_a_board_that_is_off_usb_for_a_while_is_found_again(board, monkeypatch):
    """By its serial number: the port has none at first."""
    plug = Plugs(board.port, [30_000])
    here, asked = remote.Port(plug.url, "77", "f055:9800", None), []
    monkeypatch.setattr(remote, "ports", lambda: asked.append(1) or ([] if len(asked) in (2, 3) else [here]))
    path = files.model_file("digits", "host")
    pictures = [(str(i), np.full((64, 64), 10 * i, np.uint8)) for i in range(PICTURES)]
    answers, _ = onboard.ask("id:77", path, pictures, lambda _n: None, classifying.WORDS)
    plug.close()
    assert plug.cuts == 1 and len(asked) == 4 and len(answers) == PICTURES


class Plugs:
    """A line to the board at a TCP port, unplugged after each of `lengths` bytes and at once plugged in again. It also
    stays plugged in when the other side hangs up, as that may try once more."""

    def __init__(self, port, lengths):
        self.port, self.lengths, self.cuts, self.closed = port, list(lengths), 0, False
        self.plug = Plug(port, self.lengths.pop(0))
        self.url = self.plug.url
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            self.plug.thread.join()
            if self.closed:
                return
            left = self.plug.left
            if self.plug.cut:
                self.cuts += 1
                left = self.lengths.pop(0) if self.lengths else 10**9
            self.plug = Plug(self.port, left, self.url)

    def close(self):
        self.closed = True
        while self.thread.is_alive():  # it waits for somebody to call, here or at its next plug
            with contextlib.suppress(OSError), socket.create_connection(("localhost", int(self.url.rsplit(":", 1)[1]))):
                pass
            self.thread.join(0.1)


def test_a_board_that_does_not_come_back_is_told(board, monkeypatch):
    monkeypatch.setattr(onboard, "PATIENCE", 2)
    plug = Plug(board.port, 14_000)
    pictures = [("a", np.zeros((16, 16), np.uint8))] * 40
    with pytest.raises(remote.LinkLost, match="; [0-9]+ were answered"):
        onboard.ask(plug.url, files.model_file("digits", "host"), pictures, lambda _n: None, classifying.WORDS)
    plug.thread.join()


def test_what_a_board_raises_names_the_picture(board):
    pictures = [(name, np.zeros((16, side), np.uint8)) for name, side in (("a.png", 16), ("b.png", 17))]
    words = "def words(m, img):\n    return [str(bytearray(10)[img.width() - 7])]"
    with pytest.raises(ValueError, match=f"^b.png: {board.port} says IndexError: .*range$"):
        onboard.ask(board.port, files.model_file("digits", "host"), pictures, lambda _n: None, words)


def test_bench_lists_the_layers(board, capsys):
    assert cli.main(["bench", "digits", "--on", board.port, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["port"], found["model"]) == (board.port, "digits")
    assert [row["name"] for row in found["rows"]][-1] == "head" and found["total"] == sum(
        r["us"] for r in found["rows"]
    )
    assert cli.main(["bench", "digits", "--on", board.port]) == 0
    assert "bottleneck 3x3" in capsys.readouterr().out


def test_bench_lists_the_layers_of_what_hears_or_detects(board, capsys):
    assert cli.main(["bench", "spoken-digits", "--on", board.port, "--repeat", "2", "--json"]) == 0
    names = [row["name"] for row in json.loads(capsys.readouterr().out)["rows"]]
    assert (names[0], names[-1]) == ("audio", "head")
    assert cli.main(["bench", "bccd", "--on", board.port, "--repeat", "1", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) > 5


@pytest.mark.parametrize("words, said", [
    (
        ["val", "digits", "--data", "digits", "--on", "moon"],
        "wanted some of float, source, float32-device, host, unix, qemu or a port",
    ),
    (["bench", "--on", "/dev/none"], "bench on a board needs MODEL"),
    (["bench", "digits", "--on", "moon"], "--on moon: wanted qemu or a port"),
    (["val", "digits", "--data", "digits", "--on", "/dev/none"], "/dev/none: no answer"),
])  # fmt: skip
def test_wrong_arguments(words, said, capsys):
    try:
        status = cli.main(words)
    except SystemExit as e:
        status = e.code
    assert status == cli.USER_ERROR and said in capsys.readouterr().err
