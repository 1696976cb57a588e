"""`patchnet deploy` and `patchnet devices` on the emulated board, whose flash, card and ROMFS lie in a file here: they
outlive a killed emulator as those of a board outlive a loss of power.
"""

import dataclasses
import json
import os
import random
import re
import select
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import zlib

import numpy as np
import pytest

import blobs
from cases import random_case
from conftest import PATIENT, require
from networks import random_qnet
from patchnet import Model, cli
from patchnet.blob import vector
from patchnet.blob.pack import pack, seal
from patchnet.board import boards, deploy, onboard, partition, remote, romfs
from patchnet.board.link import Link
from patchnet.models import FOLDER, resolve
from sounds import tiny

PLACES = {"flash": "/flash", "sd": "/sd", "rom": "/rom"}


class Emulator:
    """The emulated board, with power that can be cut. Its ROMFS partition is blank flash at first, but for `rom`."""

    def __init__(self, storage, firmware=remote.FIRMWARE, rom=b""):
        self.storage, self.firmware = storage, firmware
        with open(storage, "wb") as f:
            f.seek(remote.ROM_ADDRESS - 0x60000000)
            f.write(rom.ljust(remote.ROM_SIZE, b"\xff"))
            f.truncate(remote.MEMORY_BYTES)
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
    (tmp_path / "net.pnb").write_bytes(blobs.medium())
    (tmp_path / "other" / "net.pnb").write_bytes(other_blob())
    return tmp_path / "net.pnb"


def other(model):
    return model.parent / "other" / "net.pnb"


def other_blob():
    return blobs.many_classes(150)


def answer(blob):
    return list(np.frombuffer(Model(blob).predict(raw_input(blob)), np.int8))


RUN = """
import patchnet
with patchnet.Model({path!r}) as m:
    print(list(m.predict(bytes.fromhex({raw!r}))))
"""


def raw_input(blob):
    height, width, channels = Model(blob).input_shape
    return np.random.default_rng(3).integers(0, 256, height * width * channels, np.uint8).tobytes()


def answer_on(board, path, blob):
    """What the network at `path` says to the input of `blob`, which it is taken for."""
    return json.loads(board.exec(RUN.format(path=path, raw=raw_input(blob).hex())))


def checksum_on(board, path):
    with remote.Board.serial(board.port) as b:
        return boards.checksum(b, path)


def is_there(board, path, blob):
    return checksum_on(board, path) == (len(blob), zlib.crc32(blob)) and answer_on(board, path, blob) == answer(blob)


@pytest.mark.parametrize("to", PLACES)
def test_a_network_arrives_and_answers(board, model, to):
    done = deploy.deploy(model, board.port, to)
    assert (done.path, done.copied, done.blob_bytes) == (f"{PLACES[to]}/net.pnb", True, len(blobs.medium()))
    assert is_there(board, done.path, blobs.medium())
    assert not deploy.deploy(model, board.port, to).copied
    assert deploy.deploy(other(model), board.port, to).copied
    assert is_there(board, done.path, other_blob())
    assert board.files(PLACES[to]) == ["net.pnb"]


def test_the_partition_is_used_where_there_is_one(board, model):
    assert deploy.deploy(model, board.port).path == "/rom/net.pnb"
    code = "import patchnet, uctypes\nf = open('/rom/net.pnb', 'rb')\nprint(uctypes.addressof(f) % 16)"
    assert board.exec(code) == "0\n"


def renamed(blob, turn):
    """The same network with another label."""
    assert blob.count(b"yes") == 1
    return seal(bytearray(blob.replace(b"yes", b"y%02d" % turn)))


@pytest.fixture
def rom_folder(tmp_path):
    folder = tmp_path / "rom"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "helper.py").write_text("ANSWER = 42\n")
    (folder / "lib" / "empty").write_bytes(b"")
    (folder / "data.bin").write_bytes(bytes(range(256)) * 40)
    return folder


def write_partition(board, image):
    with remote.Board.serial(board.port) as b:
        partition.look(b)
        b.exec(partition.UNMOUNT)
        b.exec(partition.ERASE.format(size=len(image), block=0, anywhere=False))
        partition._send(b, image, 0, lambda _n: None)


def others_are_there(board):
    code = "import helper\nprint(helper.ANSWER, open('/rom/data.bin', 'rb').read() == bytes(range(256)) * 40)"
    names = sorted(board.files("/rom/lib"))
    return board.exec(code) == "42 True\n" and names == ["empty", "helper.py"]


@pytest.fixture
def rewritten(monkeypatch):
    """The names of files for which the partition was erased and written anew."""
    names = []
    rewrite = partition._rewrite

    def count(board, rom, name, *rest):
        names.append(name)
        rewrite(board, rom, name, *rest)

    monkeypatch.setattr(partition, "_rewrite", count)
    return names


@pytest.fixture
def small_partition(monkeypatch):
    """small_partition(n): all but the first n bytes of the partition are out of use."""
    look = partition.look
    return lambda n: monkeypatch.setattr(partition, "look", lambda b: dataclasses.replace(look(b), size=n))


def test_what_else_is_in_the_partition_stays(board, model, rom_folder, rewritten):
    """An image of one piece, with data in the block of the directory; then one that has none there."""
    write_partition(board, romfs.build(rom_folder))
    deploy.deploy(model, board.port, "rom")
    shutil.copy(model, model.with_name("second.pnb"))
    deploy.deploy(model.with_name("second.pnb"), board.port, "rom")
    deploy.deploy(other(model), board.port, "rom")
    assert sorted(board.files("/rom")) == ["data.bin", "lib", "net.pnb", "second.pnb"]
    assert others_are_there(board) and not rewritten
    assert is_there(board, "/rom/net.pnb", other_blob())
    assert is_there(board, "/rom/second.pnb", blobs.medium())


def expect(monkeypatch, input, outputs):
    """That is what this PC has for a test vector now: the board's right answer may be wrong to it."""
    monkeypatch.setattr(vector, "load", lambda _path: vector.Vector(input, outputs))


def test_a_new_network_does_not_touch_the_old_before_it_is_tried(board, model, monkeypatch):
    deploy.deploy(model, board.port, "rom")
    right = vector.make(other_blob())
    expect(monkeypatch, right.input, right.outputs ^ 1)
    with pytest.raises(ValueError, match=r"^the new /rom/net.pnb: answers \[.*\], wanted \[.*\] from output 0 on"):
        deploy.deploy(other(model), board.port, "rom")
    assert is_there(board, "/rom/net.pnb", blobs.medium())


def test_a_partition_without_a_blank_stretch_is_written_anew(
    board, model, rom_folder, rewritten, small_partition, saved
):
    """And then there is one again, as all of it was erased."""
    small_partition(11 * 4096)
    write_partition(board, romfs.build(rom_folder))
    told, after = [], []
    for turn in range(4):
        model.write_bytes(renamed(blobs.medium(), turn))
        assert deploy.deploy(model, board.port, "rom", tell=told.append).copied
        after.append(len(rewritten))
    assert after == [0, 0, 1, 1]
    (text,) = told
    assert text.startswith("the ROMFS partition has no blank stretch")
    assert command_in(text)[-1].startswith(f"{saved}/net-") and not list(saved.iterdir())
    assert others_are_there(board)


def test_newer_firmware_erases_what_is_not_used(board, model, rom_folder, rewritten, small_partition):
    board.exec("with open('/flash/boot.py', 'w') as f:\n f.write('import vfs\\nvfs.rom_ioctl(106, 0)')")
    small_partition((2 * -(-len(blobs.medium()) // 4096) + 7) * 4096)  # two such networks, and 7 blocks
    write_partition(board, romfs.build(rom_folder))
    for turn in range(5):
        blob = renamed(blobs.medium(), turn)
        model.write_bytes(blob)
        assert deploy.deploy(model, board.port, "rom").copied
        assert is_there(board, "/rom/net.pnb", blob)
    assert others_are_there(board) and not rewritten


def test_more_files_than_one_block_names(board, model, tmp_path, rewritten):
    folder = tmp_path / "rom"
    folder.mkdir()
    for i in range(150):
        (folder / f"file{i}").write_bytes(bytes([i]))
    write_partition(board, romfs.build(folder))
    deploy.deploy(model, board.port, "rom")
    assert rewritten == ["net.pnb"] and len(board.files("/rom")) == 151
    assert is_there(board, "/rom/net.pnb", blobs.medium())


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Where the files are kept that bring a ROMFS back: a folder that a shell would take for two words."""
    folder = tmp_path / "saved here"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def before_the_header(monkeypatch, then):
    """The board does that, in MicroPython, when the directory is erased, and written but for its header."""
    text = "vfs.rom_ioctl(4, 0, 0, data[:{unit}]) < 0"
    assert text in partition.SWITCH
    monkeypatch.setattr(partition, "SWITCH", partition.SWITCH.replace(text, then))


def test_mpremote_reads_such_an_image_and_brings_it_back(board, model, rom_folder, saved, monkeypatch):
    """The worst moment. Another try before that, which sees a blank partition, leaves the file alone."""
    write_partition(board, romfs.build(rom_folder))
    with monkeypatch.context() as m:
        before_the_header(m, "True")
        with pytest.raises(
            remote.RemoteError, match="may have no ROMFS now: `mpremote connect .*` brings it back$"
        ) as e:
            deploy.deploy(model, board.port, "rom")
    assert board.files("/rom") == ["none"]
    begins = board.exec(
        f"import vfs\ndev = vfs.rom_ioctl(2, 0)\nprint(set(dev[:{partition.UNIT}]), dev[{partition.UNIT}])"
    )
    assert begins.startswith("{255} ") and begins != "{255} 255\n"
    deploy.deploy(other(model), board.port, "rom")
    (kept,) = saved.iterdir()
    words = command_in(str(e.value))
    assert words[:3] == ["mpremote", "connect", board.port] and words[-1] == str(kept)
    assert "Image size is" in mpremote(*words[1:])
    assert others_are_there(board) and is_there(board, "/rom/net.pnb", blobs.medium())
    assert f"ROMFS image size: {remote.ROM_SIZE - romfs.HEADER_BYTES}" in mpremote(
        "connect", board.port, "romfs", "query"
    )


def test_control_c_names_the_file_too(board, model, saved, monkeypatch):
    ask, told = Link.ask, []

    def interrupt(link, data, seconds=20):
        if data[:3] == romfs.MAGIC:
            raise KeyboardInterrupt
        return ask(link, data, seconds)

    with monkeypatch.context() as m:
        m.setattr(Link, "ask", interrupt)
        with pytest.raises(KeyboardInterrupt):
            deploy.deploy(model, board.port, "rom", tell=told.append)
    (text,), (kept,) = told, saved.iterdir()
    assert text.startswith("the board may have no ROMFS now: `mpremote ") and command_in(text)[-1] == str(kept)
    mpremote(*command_in(text)[1:])
    assert is_there(board, "/rom/net.pnb", blobs.medium())


def command_in(text):
    return shlex.split(re.search("`(mpremote .*)`", text)[1])


def mpremote(*words):
    command = [sys.executable, "-m", "mpremote", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_partition_of_something_else_is_not_overwritten_unasked(board, model):
    board.exec("import vfs\nvfs.rom_ioctl(3, 0, 4096)\nvfs.rom_ioctl(4, 0, 0, b'not a ROMFS image...')")
    with pytest.raises(ValueError, match="no ROMFS: --replace"):
        deploy.deploy(model, board.port, "rom")
    assert board.exec("import vfs\nprint(bytes(vfs.rom_ioctl(2, 0)[:5]))") == "b'not a'\n"
    deploy.deploy(model, board.port, "rom", replace=True)
    assert is_there(board, "/rom/net.pnb", blobs.medium())


def test_a_full_partition_is_refused_or_replaced(board, model, tmp_path, small_partition):
    folder = tmp_path / "rom"
    folder.mkdir()
    (folder / "data.bin").write_bytes(bytes(20_000))
    write_partition(board, romfs.build(folder))
    small_partition(len(blobs.medium()) + 1000)
    with pytest.raises(ValueError, match=r"image has [\d,]+ B, the partition [\d,]+ B; with --replace"):
        deploy.deploy(model, board.port, "rom")
    assert board.files("/rom") == ["data.bin"]
    deploy.deploy(model, board.port, "rom", replace=True)
    assert board.files("/rom") == ["net.pnb"]


def test_names_from_the_board_name_nothing_on_this_pc(board, model, tmp_path, monkeypatch, small_partition):
    """All is read, and written anew with nothing else."""
    monkeypatch.chdir(tmp_path)
    write_partition(board, romfs.build({"../x": bytes(20_000), "new/net.pnb": b"1", "net.pnb.d/y": b"2"}))
    small_partition(len(blobs.medium()) + 1000)
    before = sorted(tmp_path.rglob("*"))
    deploy.deploy(model, board.port, "rom", replace=True)
    assert board.files("/rom") == ["net.pnb"] and sorted(tmp_path.rglob("*")) == before


def misaligned(blob):
    """An image in which net.pnb lies as mpremote's writer may put it."""
    for n in range(4):
        name, data = b"x" * (n + 1), romfs.record(romfs.KIND_DATA, blob)
        contents = romfs.record(romfs.KIND_FILE, bytes([n + 1]) + name + romfs.record(romfs.KIND_DATA, b""))
        contents += romfs.record(romfs.KIND_FILE, bytes([7]) + b"net.pnb" + data)
        contents += bytes([romfs.KIND_PADDING, 0]) if len(contents) % 2 else b""
        image = romfs.MAGIC + romfs.varuint(len(contents), romfs.LENGTH_BYTES) + contents
        if image.index(blob) % 4 == 1:
            return image


def test_a_network_that_cannot_be_used_in_place_is_not_deployed(board, model):
    write_partition(board, misaligned(blobs.medium()))
    assert board.files("/rom")[-1] == "net.pnb" and is_there(board, "/rom/net.pnb", blobs.medium())
    assert deploy.deploy(model, board.port, "rom").copied
    assert is_there(board, "/rom/net.pnb", blobs.medium())
    assert not deploy.deploy(model, board.port, "rom").copied


# Code for boot.py: answers of rom_ioctl that are not the emulated board's.
IOCTL = """
import sys, vfs as the_vfs
class Vfs:
    def __getattr__(self, name):
        return getattr(the_vfs, name)
    def rom_ioctl(self, *args):
        return {answer} if args[0] == {command} else the_vfs.rom_ioctl(*args)
sys.modules["vfs"] = Vfs()
"""


def answers(board, command, answer):
    code = IOCTL.format(command=command, answer=answer)
    board.exec(f"with open('/flash/boot.py', 'w') as f:\n f.write({code!r})")


def test_a_board_that_cannot_erase_is_told_before_anything_is_read(board, model, rom_folder, monkeypatch):
    write_partition(board, romfs.build(rom_folder))
    answers(board, 3, -19)
    monkeypatch.setattr(partition, "_saved", None)
    with pytest.raises(ValueError, match=r"^the board cannot erase its ROMFS partition \(error 19\)$"):
        deploy.deploy(model, board.port, "rom")
    assert others_are_there(board)


def test_a_block_that_is_not_known_is_not_assumed(board, model, rom_folder, rewritten):
    """16 bytes at once are an STM32H7's internal flash, but also an STM32F7's, with larger blocks, and MRAM."""
    assert partition._block(-22, 16, "NUCLEO-H743ZI2 with STM32H743") == 128 << 10
    assert partition._block(-22, 16, "NUCLEO-F767ZI with STM32F767") == 0
    assert partition._block(-22, 4, "") == partition._block(4096, 4096, "") == 4096
    write_partition(board, romfs.build(rom_folder))
    answers(board, 3, "the_vfs.rom_ioctl(*args) * 4")
    deploy.deploy(model, board.port, "rom")
    assert rewritten == ["net.pnb"] and others_are_there(board)
    assert is_there(board, "/rom/net.pnb", blobs.medium())


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


@pytest.fixture
def larger(model):
    """The same with networks of many of the disks' blocks."""
    model.write_bytes(blobs.large())
    other(model).write_bytes(blobs.many_classes())
    return model


@pytest.mark.parametrize("to", ["flash", "sd"])
def test_a_full_disk_is_refused_before_anything_is_copied(board, larger, to):
    path = deploy.deploy(larger, board.port, to).path
    fill(board, PLACES[to], 70_000 if to == "flash" else 30_000)
    with pytest.raises(ValueError, match=r"net.pnb: needs [\d,]+ B, /\w+ has [\d,]+ B free; .*--replace"):
        deploy.deploy(other(larger), board.port, to)
    assert is_there(board, path, blobs.large())
    deploy.deploy(other(larger), board.port, to, replace=True)
    assert is_there(board, path, blobs.many_classes())


@pytest.mark.parametrize("to", ["flash", "sd"])
def test_a_disk_that_gets_full_while_it_is_written(board, larger, to, monkeypatch):
    path = deploy.deploy(larger, board.port, to).path
    fill(board, PLACES[to], 30_000)
    monkeypatch.setattr(deploy, "_make_room", lambda *_: False)
    with pytest.raises(ValueError, match=f"^{path}: no space left on the board; {path} is what it was$"):
        deploy.deploy(other(larger), board.port, to)
    assert is_there(board, path, blobs.large())
    assert sorted(board.files(PLACES[to])) == ["filler", "net.pnb"]


def test_what_a_file_system_does_not_take_is_one_line(board, model, capsys):
    """FAT has no such name, a folder is in the way: what was there stays, and nothing else is."""
    assert deploy.deploy(model, board.port, "sd").copied
    quoted = shutil.copy(model, model.with_name('a"b.pnb'))
    board.exec("import os\nos.mkdir('/flash/net.pnb')")
    for file, to, said in (
        (quoted, "sd", '/sd/a"b.pnb: the file system does not take that name; /sd/a"b.pnb is what it was'),
        (model, "flash", "/flash/net.pnb: on the board that is a folder: remove it, or give the network another name"),
    ):
        assert cli.main(["deploy", str(file), "--port", board.port, "--to", to]) == cli.USER_ERROR
        assert capsys.readouterr().err.splitlines()[-1] == f"patchnet: {said}"
    assert is_there(board, "/sd/net.pnb", blobs.medium()) and board.files("/sd") == ["net.pnb"]
    assert board.files("/flash") == ["net.pnb"] and board.files("/flash/net.pnb") == []


@pytest.mark.parametrize(
    "number, said",
    [
        (30, "the file system is read-only"),
        (5, "the board cannot read or write"),
        (99, "the board's file system gives error 99"),
    ],
)
def test_errors_of_a_disk_while_it_is_written(board, model, monkeypatch, number, said):
    path = deploy.deploy(model, board.port, "flash").path
    failing = deploy.WRITE_FILE.replace("f.write(data[1:])", f"raises({number}, data)")
    failing += "def raises(n, data):\n    if f.write(data[1:]) > 0:\n        raise OSError(n)\n"
    monkeypatch.setattr(deploy, "WRITE_FILE", failing)
    with pytest.raises(ValueError, match=f"^{path}: {said}.*; {path} is what it was$"):
        deploy.deploy(other(model), board.port, "flash")
    assert is_there(board, path, blobs.medium()) and board.files("/flash") == ["net.pnb"]


def test_what_replacing_cannot_make_room_for_stays(board, larger):
    path = deploy.deploy(larger, board.port, "sd").path
    fill(board, "/sd", 1000)
    with remote.Board.serial(board.port) as b, pytest.raises(ValueError, match="needs .* has .* free$"):
        deploy._make_room(b, boards.ask(b), path, 2 * len(blobs.large()), True)
    assert is_there(board, path, blobs.large())


def test_control_c_leaves_no_half_file(board, model):
    path = deploy.deploy(model, board.port, "flash").path

    def interrupt(_what, _total):
        def tick(_n):
            raise KeyboardInterrupt

        return tick

    with pytest.raises(KeyboardInterrupt):
        deploy.deploy(other(model), board.port, "flash", track=interrupt)
    assert is_there(board, path, blobs.medium()) and board.files("/flash") == ["net.pnb"]


def test_too_small_a_heap_is_told_before_anything_is_copied(board, model):
    model.write_bytes(blobs.large())
    size, ram = len(blobs.large()), Model(blobs.large()).ram
    with pytest.raises(ValueError, match=rf"model: needs {size:,} B in one piece, the .* has [\d,]+ B; in ROMFS"):
        deploy_with_holes(board, model, 8, "flash")
    assert board.files("/flash") == ["boot.py"]
    with pytest.raises(ValueError, match=rf"arena: needs {ram:,} B in one piece, the board's heap has [\d,]+ B$"):
        deploy_with_holes(board, model, 8, "rom")
    assert board.files("/rom") == ["none"]


def test_what_can_be_streamed_only_is_no_trouble(board, model):
    model.write_bytes(blobs.large())
    assert len(blobs.large()) > 20 << 10 > Model(model, stream=True).ram
    deploy_with_holes(board, model, 20, "flash")
    code = "import patchnet\nprint(patchnet.Model('/flash/net.pnb').ram)"
    assert board.exec(code) == f"{Model(model, stream=True).ram}\n"


def test_outputs_that_the_heap_has_no_room_for(board, model, tmp_path):
    path = shutil.copy(resolve("bccd"), tmp_path)
    m = Model(path)
    free = (m.ram + m.output_shape[0]) // 1024
    deploy.deploy(model, board.port, "flash")
    held = "import patchnet\nheld = patchnet.Model('/flash/net.pnb')\n"  # has the board's own memory for arenas
    assert not deploy_with_holes(board, path, free + 2, "rom", 1, held).tried
    assert deploy_with_holes(board, path, free + 40, "rom", 1, held).tried


def deploy_with_holes(board, model, n, to, holes=4, before=""):
    """deploy on a board whose heap is full but for some pieces of n KB."""
    eat = f"{before}eaten = []\ntry:\n while True:\n  eaten.append(bytearray(1023))\nexcept MemoryError:\n pass\n"
    let_go = f"for i in range({holes}):\n del eaten[300 + 500 * i:300 + 500 * i + {n}]\n"
    board.exec(f"with open('/flash/boot.py', 'w') as f:\n f.write({eat + let_go!r})")
    return deploy.deploy(model, board.port, to)


def test_a_network_that_answers_wrong_does_not_take_the_place(board, model, monkeypatch):
    path = deploy.deploy(model, board.port, "flash").path
    right = vector.make(other_blob())
    expect(monkeypatch, right.input, right.outputs ^ 1)
    with pytest.raises(ValueError, match=r"^the new /flash/net.pnb: answers \[.*\], wanted \[.*\] from output 0 on"):
        deploy.deploy(other(model), board.port, "flash")
    expect(monkeypatch, right.input, right.outputs[:-3])
    wanted = f"answers {list(right.outputs[-3:].tobytes())}, wanted [] from output {right.outputs.size - 3} on"
    with pytest.raises(ValueError, match=re.escape(wanted)):
        deploy.deploy(other(model), board.port, "flash")
    assert is_there(board, path, blobs.medium())
    assert board.files("/flash") == ["net.pnb"]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.pnb")), ids=lambda path: path.name)
def test_vectors_of_shipped_networks_are_right(path):
    assert vector.path_of(path).is_file()
    stored = vector.load(path)
    assert bytes(Model(path).predict(stored.input)) == stored.outputs.tobytes()


@pytest.mark.parametrize("kind", ["picture", "sound"])
def test_all_outputs_of_what_detects_or_hears_are_compared(board, tmp_path, monkeypatch, kind):
    path = tmp_path / "net.pnb"
    detector = random_case(1, max_macs=60_000, detects=True)
    path.write_bytes(detector.blob if kind == "picture" else pack(random_qnet(np.random.default_rng(0), tiny())))
    right = vector.load(path)
    assert right.kind == kind and len(set(right.outputs)) > 1
    wrong = right.outputs.copy()
    wrong[-1] ^= 1
    expect(monkeypatch, right.input, wrong)
    with pytest.raises(ValueError, match="answers .*, wanted"):
        deploy.deploy(path, board.port, "flash")
    assert board.files("/flash") == []
    expect(monkeypatch, right.input, right.outputs)
    for to in ("flash", "rom"):
        assert deploy.deploy(path, board.port, to).copied


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
    assert is_there(stock, "/flash/net.pnb", blobs.medium())
    (found,) = [f for f in boards.devices((stock.port,)) if f.port.device == stock.port]
    assert found.facts.patchnet == "/flash/lib"


def test_installation_is_asked_for(stock, model):
    asked = []
    with pytest.raises(ValueError, match="has no patchnet"):
        deploy.deploy(model, stock.port, install=lambda question: asked.append(question))
    assert asked == ["mps2-an500 with Cortex-M7 has no patchnet. Install patchnet.mpy to /flash/lib?"]


def sealed(data):
    """As ports/natmod/seal leaves a file."""
    return data + zlib.crc32(data).to_bytes(4, "little")


MPY = "/flash/lib/patchnet.mpy"
OF_NO_USE = {
    "empty": (lambda _good: b"", " is empty"),
    "cut": (lambda good: good[:3000], " is cut off, damaged or out of date"),
    "damaged": (lambda good: good[:2000] + b"?" + good[2001:2500], " is cut off, damaged or out of date"),
    "machine": (lambda _good: sealed(b"M\x06\x0b\x1f"), ": incompatible .mpy arch (it is for x64, .mpy version 6.3)"),
    "version": (
        lambda _good: sealed(b"M\x05\x1f\x1f"),
        ": incompatible .mpy file (it is for armv7emsp, .mpy version 5.3)",
    ),
}


def test_a_patchnet_of_no_use_is_told_and_not_imported(stock, model, capsys):
    """MicroPython would never return from one that is cut off."""
    good = (deploy.NATMOD / "armv7emsp" / "patchnet.mpy").read_bytes()
    assert good[:2] == b"M\x06" and zlib.crc32(good) == boards.WHOLE
    with remote.Board.serial(stock.port) as b:
        b.exec("import os\nos.mkdir('lib')")
        for make, said in OF_NO_USE.values():
            b.exec(f"with open({MPY!r}, 'wb') as f:\n f.write({make(good)!r})")
            facts = boards.ask(b)
            assert (facts.file, facts.patchnet, facts.error) == (MPY, None, MPY + said)
            b.reset()
    why = re.escape(f"mps2-an500 with Cortex-M7: {facts.error}")
    with pytest.raises(ValueError, match=f"^{why}: --install puts patchnet.mpy to /flash/lib$"):
        deploy.deploy(model, stock.port)
    with pytest.raises(remote.LinkLost, match=f"^{why}: `patchnet deploy --install` brings it$"):
        onboard.ask(stock.port, model, [], lambda _n: None, "")
    assert cli.main(["devices", "--port", stock.port]) == 0
    assert "is for armv7emsp" in " ".join(re.sub("[│\n]", " ", capsys.readouterr().out).split())


def test_a_patchnet_that_is_cut_off_is_renewed_where_it_lies(stock, model):
    good = (deploy.NATMOD / "armv7emsp" / "patchnet.mpy").read_bytes()
    stock.exec(f"with open('/flash/patchnet.mpy', 'wb') as f:\n f.write({good[:3000]!r})")
    assert deploy.deploy(model, stock.port, "flash", install=lambda _question: True).tried
    assert sorted(stock.files("/flash")) == ["net.pnb", "patchnet.mpy"]
    assert checksum_on(stock, "/flash/patchnet.mpy") == (len(good), boards.WHOLE)


def test_a_patchnet_for_other_networks_is_told(board, model, monkeypatch):
    monkeypatch.setattr(boards, "HEADER", boards.HEADER[:4] + b"\x63\x00" + boards.HEADER[6:])
    why = "the firmware's patchnet is for networks of another version: build the firmware anew, see ports/README.md"
    with pytest.raises(ValueError, match=f": {why}$"):
        deploy.deploy(model, board.port)


def test_the_seal_is_put_on_once(tmp_path):
    path = tmp_path / "a.mpy"
    path.write_bytes(b"M\x06 and so on")
    for _ in range(2):
        subprocess.run([remote.ROOT / "ports" / "natmod" / "seal", path], check=True)
        assert path.read_bytes() == sealed(b"M\x06 and so on")
    assert zlib.crc32(path.read_bytes()) == boards.WHOLE


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


@pytest.mark.parametrize("to", PLACES)
def test_loss_of_power_leaves_the_old_network(board, model, to):
    path = deploy.deploy(model, board.port, to).path
    total = len(other_blob())
    for share in (0, random.Random(to).random(), 0.999):
        with pytest.raises(remote.LinkLost, match="net.pnb is what it was, start again"):
            deploy.deploy(other(model), board.port, to, track=cut_after(board, int(share * total)))
        board.start()
        assert is_there(board, path, blobs.medium())
    deploy.deploy(other(model), board.port, to)
    assert is_there(board, path, other_blob())
    assert board.files(PLACES[to]) == ["net.pnb"]


@pytest.mark.parametrize("to", PLACES)
def test_loss_of_power_at_any_moment_leaves_one_of_both(board, model, to):
    """Not only between frames: while the board writes, reads back, tries, renames."""
    path = deploy.deploy(model, board.port, to).path
    seconds = deploy.deploy(other(model), board.port, to).seconds
    now, rng = [other_blob(), blobs.medium()], random.Random(1)
    for _ in range(4):
        timer = threading.Timer(rng.uniform(0.2, 1) * seconds, board.cut)
        timer.start()
        try:
            deploy.deploy(model if now[1] == blobs.medium() else other(model), board.port, to)
            now.reverse()
        except remote.LinkLost:
            pass
        timer.join()
        board.start()
        assert is_there(board, path, now[0]) or is_there(board, path, now[1])
        if checksum_on(board, path)[0] == len(now[1]):  # renamed, and then the answer was lost
            now.reverse()


@pytest.mark.parametrize("what", ["walk", "blank"])
def test_flash_that_cannot_be_read_is_told(board, model, monkeypatch, what):
    """A board that goes away whenever what it holds is looked at: its directory, or what is behind."""
    start = remote.Board.start

    def cut(self, code):
        looks = code.startswith("print([blank" if what == "blank" else "\nimport binascii, os, sys")
        start(self, "while True: pass" if looks else code)
        if looks:
            board.cut()

    monkeypatch.setattr(remote.Board, "start", cut)
    with pytest.raises(
        remote.LinkLost, match="; internal flash that lost its power while it was written may be unread"
    ):
        deploy.deploy(model, board.port, "rom")


def test_a_board_that_starts_anew_by_itself_keeps_the_old_network(board, model, monkeypatch):
    deploy.deploy(model, board.port, "rom")
    monkeypatch.setattr(partition, "WRITE", "def answer(data):\n raise SystemExit")
    with pytest.raises(remote.RemoteError, match="; /rom/net.pnb is what it was, start again$"):
        deploy.deploy(other(model), board.port, "rom")
    assert is_there(board, "/rom/net.pnb", blobs.medium())


@pytest.mark.parametrize("when", ["before", "after"])
def test_loss_of_power_around_the_change_of_directory(board, model, rom_folder, monkeypatch, when):
    write_partition(board, romfs.build(rom_folder))
    deploy.deploy(model, board.port, "rom")
    ask = Link.ask

    def cut(link, data, seconds=20):
        ends = data[:3] == romfs.MAGIC
        if ends and when == "before":
            board.cut()
        answer = ask(link, data, seconds)
        if ends:
            board.cut()
        return answer

    monkeypatch.setattr(Link, "ask", cut)
    with pytest.raises(remote.LinkLost, match="may have no ROMFS now"):
        deploy.deploy(other(model), board.port, "rom")
    board.start()
    assert is_there(board, "/rom/net.pnb", blobs.medium() if when == "before" else other_blob())
    assert others_are_there(board)


@pytest.mark.parametrize("left", ["half", "header"])
def test_loss_of_power_while_all_is_written_anew_leaves_no_half_partition(board, model, saved, monkeypatch, left):
    monkeypatch.setattr(partition, "_insert", lambda *_: False)
    deploy.deploy(model, board.port, "flash")
    deploy.deploy(model, board.port, "rom")
    blob = other_blob()
    size = len(partition._filled(romfs.build({"net.pnb": blob})))
    n = size // 2 if left == "half" else size - partition.UNIT - 1
    with pytest.raises(remote.LinkLost, match="may have no ROMFS now: `mpremote ") as e:
        deploy.deploy(other(model), board.port, "rom", track=cut_after(board, n))
    board.start()
    assert board.files("/rom") == ["none"]
    assert is_there(board, "/flash/net.pnb", blobs.medium())
    mpremote("connect", board.port, *command_in(str(e.value))[3:])  # at another port than before
    assert is_there(board, "/rom/net.pnb", blob)


class Plug:
    """The board's serial line at a TCP port, unplugged after `n` bytes to the board."""

    def __init__(self, port, n, url="socket://localhost:0"):
        import serial

        self.line = serial.Serial(port, timeout=0)
        self.listener = socket.create_server(("localhost", int(url.rsplit(":", 1)[1])))
        self.url = f"socket://localhost:{self.listener.getsockname()[1]}"
        self.left, self.cut = n, False
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        pc, _ = self.listener.accept()
        try:
            while True:
                ready, _, _ = select.select([self.line, pc], [], [])
                if self.line in ready:
                    pc.sendall(self.line.read(4096))
                if pc not in ready:
                    continue
                data = pc.recv(1024)
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
    plug = Plug(board.port, int(7_000 + share * len(other_blob())))
    with pytest.raises(remote.LinkLost, match="start again"):
        deploy.deploy(other(model), plug.url, "flash")
    plug.thread.join()
    assert is_there(board, path, blobs.medium())
    deploy.deploy(other(model), board.port, "flash")
    assert is_there(board, path, other_blob())


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
    (["--port", "/dev/none"], "/dev/none: no answer (there is no such device; on USB: none)"),
    (["--port", "nonsense"], "nonsense: no answer (there is no such device; on USB: none)"),
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


def test_files_that_are_none_are_one_line(tmp_path, capsys):
    bad = tmp_path / "bad.pnb"
    bad.write_bytes(b"x")
    assert cli.main(["deploy", str(bad), "--port", "/dev/none"]) == cli.USER_ERROR
    assert capsys.readouterr().err == f"patchnet: {bad}: bad model: length\n"
    good = shutil.copy(resolve("digits"), tmp_path)
    for content, got in ((b"x", "no .npz file"), (b"", "no .npz file"), (None, "outputs")):
        path = vector.path_of(good)
        np.savez(path, outputs=np.zeros(1)) if content is None else path.write_bytes(content)
        assert cli.main(["deploy", str(good), "--port", "/dev/none"]) == cli.USER_ERROR
        assert capsys.readouterr().err == f"patchnet: {path}: wanted picture, sound or raw, and outputs, got {got}\n"


def test_a_vector_of_another_network_is_not_held_against_the_board(model, tmp_path):
    """A new network was copied over the old one, whose test vector still lies beside it."""
    vector.save(model)
    assert vector.load(model).outputs.size == Model(blobs.medium()).output_shape[0]
    shutil.copy(other(model), model)
    for blob in (other_blob(), resolve("spoken-digits").read_bytes()):
        model.write_bytes(blob)
        with pytest.raises(ValueError, match=r"net.test.npz: is not of net.pnb: delete it$"):
            deploy.deploy(model, "/dev/none")


def test_a_damaged_vector_is_told(tmp_path):
    path = shutil.copy(resolve("digits"), tmp_path)
    good, rng = vector.path_of(resolve("digits")).read_bytes(), random.Random(1)
    said = set()
    for _ in range(300):
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        vector.path_of(path).write_bytes(bad)
        try:
            vector.load(path)
        except ValueError as e:
            said.add(str(e).rsplit(", ", 1)[-1])
    assert "got no .npz file" in said


def test_devices_are_listed(board, capsys, monkeypatch):
    here = remote.Port(board.port, "123456", "f055:9800", "Pyboard")
    gone = remote.Port("/dev/none", "2", "0483:5740", None)
    monkeypatch.setattr(boards, "ports", lambda: [here, gone])
    assert cli.main(["devices", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["device"], first["serial"], first["vid_pid"]) == (board.port, "123456", "f055:9800")
    source = (remote.ROOT / "build" / "micropython" / "py" / "mpconfig.h").read_text()
    built = ".".join(re.findall(r"#define MICROPY_VERSION_M[A-Z]+ (\d+)", source))
    assert (first["version"], first["arch"], first["patchnet"]) == (built, "armv7emdp", "")
    assert first["places"] == {"rom": "/rom", "flash": "/flash", "sd": "/sd"} and first["rom"] == 9 << 20
    assert "no answer" in second["trouble"] and "version" not in second
    assert cli.main(["devices"]) == 0
    assert "in the firmware" in capsys.readouterr().out


def test_a_port_that_does_not_read_hides_no_other(board, unread, capsys, monkeypatch):
    monkeypatch.setattr(remote, "WRITE_SECONDS", 0.2)
    assert cli.main(["devices", "--json", "--port", unread, "--port", board.port]) == 0
    dead, live = json.loads(capsys.readouterr().out)
    assert dead["trouble"] == f"{unread}: no answer (what is sent there is not read)" and live["patchnet"] == ""


def test_auto_and_id_find_the_board(monkeypatch):
    some = [remote.Port("/dev/a", "1", "f055:9800", None), remote.Port("/dev/b", "2", "f055:9800", None)]
    monkeypatch.setattr(remote, "ports", lambda: some)
    assert remote.find_port("id:2") == "/dev/b"
    with pytest.raises(ValueError, match="got /dev/a .id:1., /dev/b .id:2."):
        remote.find_port("auto")
    monkeypatch.setattr(remote, "ports", lambda: some[:1])
    assert remote.find_port("auto") == "/dev/a"
