"""`patchnet deploy` and `patchnet devices` on the emulated board, whose flash, card and ROMFS lie in a file here: they
outlive a killed emulator as those of a board outlive a loss of power.
"""

import json
import os
import random
import socket
import threading
import zlib

import numpy as np
import pytest

import blobs
from conftest import require
from patchnet import Model, boards, cli, deploy, remote, romfs, vector
from patchnet.models import FOLDER, resolve

PLACES = {"flash": "/flash", "sd": "/sd", "rom": "/rom"}


class Emulator:
    """The emulated board, with power that can be cut."""

    def __init__(self, storage, firmware=remote.FIRMWARE):
        self.storage, self.firmware = storage, firmware
        self.start()

    def start(self):
        self.qemu = remote.Qemu(self.firmware, None, False, self.storage)
        self.port = self.qemu.port

    def cut(self):
        self.qemu.stop()

    def exec(self, code):
        with remote.Board.serial(self.port) as board:
            return board.exec(code, 300)

    def files(self, folder):
        return self.exec(f"import os\ntry:\n print(*os.listdir({folder!r}))\nexcept OSError:\n print('none')").split()


@pytest.fixture
def board(tmp_path):
    require("qemu")
    emulator = Emulator(tmp_path / "storage")
    yield emulator
    emulator.cut()


@pytest.fixture
def model(tmp_path):
    """net.pnb in a folder, and another network of the same name in `other`."""
    (tmp_path / "other").mkdir()
    (tmp_path / "net.pnb").write_bytes(blobs.large())
    (tmp_path / "other" / "net.pnb").write_bytes(blobs.many_classes())
    return tmp_path / "net.pnb"


def other(model):
    return model.parent / "other" / "net.pnb"


def answer(blob):
    return list(np.frombuffer(Model(blob).predict(vector.make(blob).picture), np.int8))


RUN = """
import patchnet
with patchnet.Model({path!r}) as m:
    print(list(m.predict(patchnet.Image({width}, {height}, patchnet.{format}, bytes.fromhex({pixels!r})))))
"""


def answer_on(board, path, blob):
    """What the network at `path` says to the test picture of `blob`, which it is taken for."""
    picture = vector.make(blob).picture
    height, width, *depth = picture.shape
    pixels, format = picture.tobytes().hex(), "RGB888" if depth else "GRAYSCALE"
    return json.loads(board.exec(RUN.format(path=path, width=width, height=height, format=format, pixels=pixels)))


def checksum_on(board, path):
    with remote.Board.serial(board.port) as b:
        return deploy._checksum(b, path)


def is_there(board, path, blob):
    return checksum_on(board, path) == (len(blob), zlib.crc32(blob)) and answer_on(board, path, blob) == answer(blob)


@pytest.mark.parametrize("to", PLACES)
def test_a_network_arrives_and_answers(board, model, to):
    done = deploy.deploy(model, board.port, to)
    assert (done.path, done.copied, done.blob_bytes) == (f"{PLACES[to]}/net.pnb", True, len(blobs.large()))
    assert is_there(board, done.path, blobs.large())
    assert not deploy.deploy(model, board.port, to).copied
    assert deploy.deploy(other(model), board.port, to).copied
    assert is_there(board, done.path, blobs.many_classes())
    assert board.files(PLACES[to]) == ["net.pnb"]


def test_the_partition_is_used_where_there_is_one(board, model):
    assert deploy.deploy(model, board.port).path == "/rom/net.pnb"
    code = "import patchnet, uctypes\nf = open('/rom/net.pnb', 'rb')\nprint(uctypes.addressof(f) % 16)"
    assert board.exec(code) == "0\n"


def test_what_else_is_in_the_partition_stays(board, model, tmp_path):
    folder = tmp_path / "rom"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "helper.py").write_text("ANSWER = 42\n")
    (folder / "data.bin").write_bytes(bytes(range(256)) * 40)
    write_partition(board, romfs.build(folder))
    deploy.deploy(model, board.port, "rom")
    assert sorted(board.files("/rom")) == ["data.bin", "lib", "net.pnb"]
    code = "import helper\nprint(helper.ANSWER, open('/rom/data.bin', 'rb').read() == bytes(range(256)) * 40)"
    assert board.exec(code) == "42 True\n"


def write_partition(board, image):
    with remote.Board.serial(board.port) as b:
        deploy._send_rom(b, image + bytes(-len(image) % 16), lambda _n: None)


def test_a_partition_of_something_else_is_not_overwritten_unasked(board, model):
    board.exec("import vfs\nvfs.rom_ioctl(3, 0, 4096)\nvfs.rom_ioctl(4, 0, 0, b'not a ROMFS image...')")
    with pytest.raises(ValueError, match="no ROMFS: --replace"):
        deploy.deploy(model, board.port, "rom")
    assert board.exec("import vfs\nprint(bytes(vfs.rom_ioctl(2, 0)[:5]))") == "b'not a'\n"
    deploy.deploy(model, board.port, "rom", replace=True)
    assert is_there(board, "/rom/net.pnb", blobs.large())


def test_a_full_partition_is_refused_or_replaced(board, model, tmp_path, monkeypatch):
    folder = tmp_path / "rom"
    folder.mkdir()
    (folder / "data.bin").write_bytes(bytes(20_000))
    write_partition(board, romfs.build(folder))
    ask = boards.ask
    monkeypatch.setattr(boards, "ask", lambda b: boards.replace(ask(b), rom=len(blobs.large()) + 1000))
    with pytest.raises(ValueError, match=r"image has [\d,]+ B, the partition [\d,]+ B; with --replace"):
        deploy.deploy(model, board.port, "rom")
    assert board.files("/rom") == ["data.bin"]
    deploy.deploy(model, board.port, "rom", replace=True)
    assert board.files("/rom") == ["net.pnb"]


def fill(board, folder, but):
    code = """
import os
s = os.statvfs({0!r})
piece = bytes(4096)
with open({0!r} + "/filler", "wb") as f:
    for i in range((s[1] * s[4] - {1}) // 4096):
        f.write(piece)
"""
    board.exec(code.format(folder, but))


@pytest.mark.parametrize("to", ["flash", "sd"])
def test_a_full_disk_is_refused_before_anything_is_copied(board, model, to):
    path = deploy.deploy(model, board.port, to).path
    fill(board, PLACES[to], 70_000 if to == "flash" else 30_000)
    with pytest.raises(ValueError, match=r"net.pnb: needs [\d,]+ B, /\w+ has [\d,]+ B free; .*--replace"):
        deploy.deploy(other(model), board.port, to)
    assert is_there(board, path, blobs.large())
    deploy.deploy(other(model), board.port, to, replace=True)
    assert is_there(board, path, blobs.many_classes())


@pytest.mark.parametrize("to", ["flash", "sd"])
def test_a_disk_that_gets_full_while_it_is_written(board, model, to, monkeypatch):
    path = deploy.deploy(model, board.port, to).path
    fill(board, PLACES[to], 30_000)
    monkeypatch.setattr(deploy, "_make_room", lambda *_: None)
    with pytest.raises(ValueError, match="no space left on the board"):
        deploy.deploy(other(model), board.port, to)
    assert is_there(board, path, blobs.large())
    assert sorted(board.files(PLACES[to])) == ["filler", "net.pnb"]


def test_too_small_a_heap_is_told_before_anything_is_copied(board, model):
    size, ram = len(blobs.large()), Model(blobs.large()).ram
    with pytest.raises(ValueError, match=rf"model: needs {size:,} B in one piece, the .* has [\d,]+ B; in ROMFS"):
        deploy_with_holes(board, model, 8, "flash")
    assert board.files("/flash") == ["boot.py"]
    with pytest.raises(ValueError, match=rf"arena: needs {ram:,} B in one piece, the board's heap has [\d,]+ B$"):
        deploy_with_holes(board, model, 8, "rom")
    assert board.files("/rom") == ["none"]


def test_what_can_be_streamed_only_is_no_trouble(board, model):
    assert len(blobs.large()) > 20 << 10 > Model(model, stream=True).ram
    deploy_with_holes(board, model, 20, "flash")
    code = "import patchnet\nprint(patchnet.Model('/flash/net.pnb').ram)"
    assert board.exec(code) == f"{Model(model, stream=True).ram}\n"


def deploy_with_holes(board, model, n, to):
    """deploy on a board whose heap is full but for some pieces of n KB."""
    eat = "eaten = []\ntry:\n while True:\n  eaten.append(bytearray(1023))\nexcept MemoryError:\n pass\n"
    holes = f"for i in range(4):\n del eaten[500 * i:500 * i + {n}]\n"
    board.exec(f"with open('/flash/boot.py', 'w') as f:\n f.write({eat + holes!r})")
    deploy.deploy(model, board.port, to)


def test_a_network_that_answers_wrong_does_not_take_the_place(board, model):
    path = deploy.deploy(model, board.port, "flash").path
    right = vector.make(blobs.many_classes())
    np.savez(vector.path_of(other(model)), picture=right.picture, outputs=right.outputs ^ 1)
    with pytest.raises(ValueError, match=r"net.pnb.part: answers \[.*\], wanted \[.*\]"):
        deploy.deploy(other(model), board.port, "flash")
    assert is_there(board, path, blobs.large())
    assert board.files("/flash") == ["net.pnb"]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.test.npz")), ids=lambda path: path.name)
def test_vectors_of_shipped_networks_are_right(path):
    stored = vector.load(path.with_suffix("").with_suffix(".pnb"))
    assert bytes(Model(path.name.split(".")[0]).predict(stored.picture)) == stored.outputs.tobytes()


# ---------------------------------------------------------------- patchnet itself


@pytest.fixture
def stock(tmp_path):
    """A board whose firmware lacks patchnet."""
    firmware = remote.ROOT / "build" / "qemu-stock" / "firmware.elf"
    if not firmware.is_file():
        reason = f"{firmware} is missing: run `make native`"
        pytest.fail(reason) if os.environ.get("PATCHNET_REQUIRE_DEVICES") == "1" else pytest.skip(reason)
    emulator = Emulator(tmp_path / "storage", firmware)
    yield emulator
    emulator.cut()


def test_patchnet_is_installed_where_the_firmware_lacks_it(stock, model, capsys):
    words = ["deploy", str(model), "--port", stock.port, "--to", "flash"]
    assert cli.main(words) == cli.USER_ERROR
    assert "has no patchnet: --install puts patchnet.mpy to /flash/lib" in capsys.readouterr().err
    assert stock.files("/flash") == []
    assert cli.main([*words, "--install"]) == 0
    assert stock.files("/flash/lib") == ["patchnet.mpy"]
    assert is_there(stock, "/flash/net.pnb", blobs.large())
    (found,) = [f for f in boards.devices((stock.port,)) if f.port.device == stock.port]
    assert found.facts.patchnet == "/flash/lib"


def test_installation_is_asked_for(stock, model):
    asked = []
    with pytest.raises(ValueError, match="has no patchnet"):
        deploy.deploy(model, stock.port, install=lambda question: asked.append(question))
    assert asked == ["mps2-an500 with Cortex-M7 has no patchnet. Install patchnet.mpy to /flash/lib?"]


def test_a_broken_installation_is_told(stock, model):
    stock.exec("import os\nos.mkdir('lib')\nwith open('lib/patchnet.mpy', 'wb') as f:\n f.write(b'M\\x05')")
    with pytest.raises(ValueError, match=r"has no patchnet \(incompatible .mpy file\): --install"):
        deploy.deploy(model, stock.port)


# ---------------------------------------------------------------- power and plug


class Cut(Exception):
    pass


def cut_after(emulator, n):
    """For `track`: the power is cut when n bytes have been copied."""

    def track(_what, _total):
        done = 0

        def tick(more):
            nonlocal done
            if done <= n < done + more:
                emulator.cut()
            done += more

        return tick

    return track


@pytest.mark.parametrize("to", ["flash", "sd"])
def test_loss_of_power_leaves_the_old_network(board, model, to):
    path = deploy.deploy(model, board.port, to).path
    total = len(blobs.many_classes())
    for share in (0, random.Random(to).random(), 0.999):
        with pytest.raises(remote.LinkLost, match="net.pnb is what it was, start again"):
            deploy.deploy(other(model), board.port, to, track=cut_after(board, int(share * total)))
        board.start()
        assert is_there(board, path, blobs.large())
    deploy.deploy(other(model), board.port, to)
    assert is_there(board, path, blobs.many_classes())
    assert board.files(PLACES[to]) == ["net.pnb"]


@pytest.mark.parametrize("to", ["flash", "sd"])
def test_loss_of_power_at_any_moment_leaves_one_of_both(board, model, to):
    """Not only between frames: while the board writes, reads back, tries, renames."""
    path = deploy.deploy(model, board.port, to).path
    seconds = deploy.deploy(other(model), board.port, to).seconds
    now, rng = [blobs.many_classes(), blobs.large()], random.Random(1)
    for _ in range(4):
        timer = threading.Timer(rng.uniform(0.2, 1) * seconds, board.cut)
        timer.start()
        try:
            deploy.deploy(model if now[1] == blobs.large() else other(model), board.port, to)
            now.reverse()
        except remote.LinkLost:
            pass
        timer.join()
        board.start()
        assert is_there(board, path, now[0]) or is_there(board, path, now[1])
        if checksum_on(board, path)[0] == len(now[1]):  # renamed, and then the answer was lost
            now.reverse()


def test_loss_of_power_leaves_no_half_partition(board, model, tmp_path):
    deploy.deploy(model, board.port, "flash")
    deploy.deploy(model, board.port, "rom")
    with pytest.raises(remote.LinkLost, match="has no ROMFS now; start again"):
        deploy.deploy(other(model), board.port, "rom", track=cut_after(board, len(blobs.many_classes()) // 2))
    board.start()
    assert board.files("/rom") == ["none"]
    assert is_there(board, "/flash/net.pnb", blobs.large())
    deploy.deploy(other(model), board.port, "rom")
    assert is_there(board, "/rom/net.pnb", blobs.many_classes())


class Plug:
    """The board's serial line at a TCP port, unplugged after `n` bytes to the board."""

    def __init__(self, port, n, url="socket://localhost:0"):
        import serial

        self.line = serial.Serial(port, timeout=0.02)
        self.listener = socket.create_server(("localhost", int(url.rsplit(":", 1)[1])))
        self.url = f"socket://localhost:{self.listener.getsockname()[1]}"
        self.left, self.cut = n, False
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        pc, _ = self.listener.accept()
        pc.settimeout(0.002)
        try:
            while True:
                pc.sendall(self.line.read(self.line.in_waiting or 1))
                try:
                    data = pc.recv(1024)
                except TimeoutError:
                    continue
                self.cut = self.left < len(data)
                if not data or self.cut:
                    self.line.write(data[: self.left])
                    break
                self.left -= len(data)
                self.line.write(data)
        except OSError:
            pass
        pc.close()
        self.listener.close()
        self.line.close()


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_an_unplugged_line_leaves_the_old_network_and_can_be_plugged_in_again(board, model, share):
    """The board is not reset by that: it still waits for the rest of a frame when the next command comes."""
    path = deploy.deploy(model, board.port, "flash").path
    plug = Plug(board.port, int(12_000 + share * len(blobs.many_classes())))
    with pytest.raises(remote.LinkLost, match="start again"):
        deploy.deploy(other(model), plug.url, "flash")
    plug.thread.join()
    assert is_there(board, path, blobs.large())
    deploy.deploy(other(model), board.port, "flash")
    assert is_there(board, path, blobs.many_classes())


def test_a_socket_is_a_port(board, model):
    plug = Plug(board.port, 10**9)
    assert deploy.deploy(model, plug.url, "flash").copied
    plug.thread.join()


# ---------------------------------------------------------------- the command line


def test_command(board, capsys):
    assert cli.main(["deploy", "digits", "--port", board.port, "--to", "sd"]) == 0
    said = capsys.readouterr()
    blob = resolve("digits").read_bytes()
    what = f"copied, {len(blob):,} B, arena {Model(blob).ram:,} B, answers as this PC does"
    assert said.out == f"/sd/digits.pnb on mps2-an500 with Cortex-M7: {what}\n"
    assert cli.main(["deploy", "digits", "--port", board.port, "--to", "sd", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["path"], done["copied"], done["blob_bytes"]) == ("/sd/digits.pnb", False, len(blob))
    assert is_there(board, "/sd/digits.pnb", blob)


@pytest.mark.parametrize("words, said", [
    (["--port", "/dev/none"], "/dev/none: no answer"),
    (["--port", "auto"], "wanted one board on USB, got none"),
    (["--port", "id:1234"], "id:1234: no such board; there is none"),
    (["--to", "moon"], "invalid choice: 'moon'"),
])  # fmt: skip
def test_wrong_ports_are_one_line(words, said, capsys, monkeypatch):
    monkeypatch.setattr(remote, "ports", lambda: [])
    try:
        status = cli.main(["deploy", "digits", *words])
    except SystemExit as e:
        status = e.code
    assert status == cli.USER_ERROR
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_devices_are_listed(board, capsys, monkeypatch):
    here = remote.Port(board.port, "123456", "f055:9800", "Pyboard")
    gone = remote.Port("/dev/none", "2", "0483:5740", None)
    monkeypatch.setattr(boards, "ports", lambda: [here, gone])
    assert cli.main(["devices", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["device"], first["serial"], first["vid_pid"]) == (board.port, "123456", "f055:9800")
    assert (first["version"], first["arch"], first["patchnet"]) == ("1.25.0", "armv7emdp", "")
    assert first["places"] == {"rom": "/rom", "flash": "/flash", "sd": "/sd"} and first["rom"] == 9 << 20
    assert "no answer" in second["trouble"] and "version" not in second
    assert cli.main(["devices"]) == 0
    assert "in the firmware" in capsys.readouterr().out


def test_auto_and_id_find_the_board(monkeypatch):
    some = [remote.Port("/dev/a", "1", "f055:9800", None), remote.Port("/dev/b", "2", "f055:9800", None)]
    monkeypatch.setattr(remote, "ports", lambda: some)
    assert remote.find_port("id:2") == "/dev/b"
    with pytest.raises(ValueError, match="got /dev/a .id:1., /dev/b .id:2."):
        remote.find_port("auto")
    monkeypatch.setattr(remote, "ports", lambda: some[:1])
    assert remote.find_port("auto") == "/dev/a"
