"""The adapter between pytest, mpremote and the ports, and the ground that the ports give to patchnet."""

import contextlib
import os
import subprocess
import sys
import threading
import time

import pytest

from conftest import PATIENT, wait_for
from patchnet.board import remote, romfs


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data.bin").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "helper.py").write_text("ANSWER = 42\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "text.txt").write_text("hello")
    return tmp_path


READ_FILES = """
import os, helper
print(sorted(os.listdir()), helper.ANSWER, open("sub/text.txt").read())
print(open("data.bin", "rb").read() == bytes(range(256)) * 40)
"""
FILES_READ = "['data.bin', 'helper.py', 'sub'] 42 hello\nTrue\n"


def test_files_are_the_current_directory(connect, where, folder):
    assert connect(where, folder).exec(READ_FILES) == FILES_READ


def test_emulated_board_mounts_a_folder(connect, folder):
    board = connect("qemu")
    board.mount(folder)
    assert board.exec(READ_FILES) == FILES_READ
    board.exec("with open('new.txt', 'w') as f: f.write('from the board')")
    assert (folder / "new.txt").read_text() == "from the board"


def test_files_survive_a_reset(connect, folder):
    board = connect("qemu", folder)
    board.exec("x = 1")
    board.reset()
    with pytest.raises(remote.RemoteError, match="NameError"):
        board.exec("print(x)")
    assert board.exec(READ_FILES) == FILES_READ


def test_rom_files_lie_aligned_in_memory(connect, folder):
    for length in range(20):
        (folder / ("n" * (length + 1))).write_bytes(b"x" * length + b"y")
    code = """
import os, uctypes
print({uctypes.addressof(open(name, "rb")) % 16 for name in os.listdir() if name != "sub"})
"""
    assert connect("qemu", folder).exec(code) == "{0}\n"


def test_rom_image_has_an_even_length(tmp_path):
    for length in range(4):
        (tmp_path / "a").write_bytes(bytes(length))
        assert len(romfs.build(tmp_path)) % 2 == 0


def test_too_much_for_the_rom_is_refused(connect, tmp_path):
    (tmp_path / "big").write_bytes(bytes(remote.ROM_SIZE))
    with pytest.raises(ValueError, match="has room for"):
        connect("qemu", tmp_path)


def test_exceptions_arrive_with_the_traceback(connect, where):
    with pytest.raises(remote.RemoteError, match="line 2, in <module>\n(.*\n)*ZeroDivisionError") as caught:
        connect(where).exec("print('before')\n1 / 0")
    assert caught.value.output == "before\n"


@pytest.mark.parametrize("code", ["while True:\n pass", "import time\ntime.sleep(600)"], ids=["loop", "sleep"])
def test_ctrl_c_stops(connect, where, code):
    device = connect(where)
    device.start(f"print('begun')\n{code}")
    wait_for(device, "begun" if where == "unix" else "begun\r\n")
    if where == "unix" and "sleep" in code:  # a signal just before its system call would not end that
        while state(device._process.pid) != "S":
            time.sleep(0.01)
    device.interrupt()
    with pytest.raises(remote.RemoteError, match="KeyboardInterrupt"):
        device.finish()
    assert device.exec("print(1)") == "1\n"


def test_code_without_end_times_out(connect, where):
    device = connect(where)
    with pytest.raises(remote.RemoteTimeout):
        device.exec("while True:\n pass", timeout=1)
    assert device.exec("print(1)") == "1\n"


def test_a_port_that_does_not_read_is_told(unread, monkeypatch):
    monkeypatch.setattr(remote, "WRITE_SECONDS", 0.2)
    monkeypatch.setattr(remote, "PROMPT_SECONDS", 0.2)
    began = time.monotonic()
    with pytest.raises(remote.LinkLost, match=f"^{unread}: no answer \\(what is sent there is not read\\)$"):
        remote.Board.serial(unread)
    assert 0.2 <= time.monotonic() - began < PATIENT


@pytest.mark.parametrize("sends", [b"", b"tick \xe4\r\n" * 100], ids=["silent", "endless"])
def test_a_port_without_a_prompt_is_told(line, sends, monkeypatch):
    """One that sends for ever would be read for ever."""
    monkeypatch.setattr(remote, "PATIENCE", 0.05)
    monkeypatch.setattr(remote, "PROMPT_SECONDS", 0.2)
    there, port = line
    os.set_blocking(there, False)
    ended = threading.Event()

    def board():
        while not ended.is_set():
            with contextlib.suppress(BlockingIOError):
                os.read(there, 4096)
            with contextlib.suppress(BlockingIOError):
                os.write(there, sends)

    thread = threading.Thread(target=board)
    thread.start()
    try:
        with pytest.raises(
            remote.LinkLost, match=f"^{port}: no answer \\(MicroPython's prompt does not come at Ctrl-C"
        ):
            remote.Board.serial(port)
    finally:
        ended.set()
        thread.join()


def test_endless_output_times_out(connect):
    board = connect("qemu")
    with pytest.raises(remote.RemoteTimeout, match="does not end in time; last words '.*tick"):
        board.exec("while True: print('tick')", timeout=0.5)
    assert board.exec("print(1)") == "1\n"


def test_the_last_line_of_a_traceback():
    assert remote.RemoteError("Traceback:\n  File\nOSError: [Errno 28] ENOSPC\n").line == "OSError: [Errno 28] ENOSPC"
    assert remote.RemoteError("").line == ""


def test_much_output_arrives_whole(connect, where):
    assert connect(where).exec("for i in range(2000): print(i)") == "".join(f"{i}\n" for i in range(2000))


def test_floats_work(connect, where):
    assert connect(where).exec("x = 3.0\nprint(x / 2, '%.3f' % (x ** 0.5))") == "1.5 1.732\n"


def test_clock_runs(connect, where):
    code = "import time\nt = time.ticks_us()\ntime.sleep_ms(50)\nprint(time.ticks_diff(time.ticks_us(), t))"
    device, began = connect(where), time.monotonic()
    assert 49_000 <= int(device.exec(code)) <= (time.monotonic() - began) * 1_000_000


def test_instructions_are_counted(connect):
    code = "import time\nt = time.ticks_cpu()\nfor i in range(1000): pass\nprint(time.ticks_cpu() - t)"
    first, second = (int(connect("qemu", icount=True).exec(code)) for _ in range(2))
    assert first > 1000
    assert abs(first - second) <= 2  # ticks of 40 instructions; the start falls anywhere within one


def test_emulator_dies_with_its_parent():
    code = "from patchnet.board import remote; b = remote.Board.qemu(); print(b._qemu.process.pid, flush=True); input()"
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    emulator = int(parent.stdout.readline())
    assert is_alive(emulator)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + PATIENT
    while is_alive(emulator) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(emulator)


def is_alive(pid):
    return state(pid) not in ("Z", None)


def state(pid):
    """A letter, as ps shows it. None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return None
