"""Runs MicroPython code on a device: the emulated Cortex-M7, a real board, or the unix port.

The only module that knows mpremote, whose Python API may change between versions.

    with connect("qemu", files="folder") as device:
        print(device.exec("import os; print(os.listdir())"))

`files` is a folder that the code finds as its current directory, read-only:
    unix   the folder itself
    qemu   a ROMFS image of it, put into memory before the start: memory-mapped, as in the flash of a real board
    port   mpremote's mount (the emulated board can do that too, by `mount`, at some 20 KB/s)
"""

import contextlib
import ctypes
import os
import re
import select
import signal
import subprocess
import tempfile
import time
import weakref
from pathlib import Path

from . import romfs

ROOT = Path(__file__).resolve().parents[2]
FIRMWARE = ROOT / "build" / "qemu" / "firmware.elf"
UNIX = ROOT / "build" / "unix" / "micropython"

ROM_ADDRESS, ROM_SIZE = 0x60400000, 12 << 20  # boards/MPS2_AN500: what the heap leaves of the external RAM
MOUNT_ROM = "import os, uctypes, vfs\nvfs.mount(vfs.VfsRom(uctypes.bytearray_at({}, {})), '/rom')\nos.chdir('/rom')"
PR_SET_PDEATHSIG = 1


class RemoteError(Exception):
    """The code on the device raised. The text is the device's traceback; `output` is what it had printed."""

    def __init__(self, traceback: str, output: str = ""):
        super().__init__(traceback)
        self.output = output


class RemoteTimeout(Exception):
    """The code did not end in time. It was interrupted."""


def connect(where: str, files: str | Path | None = None, **kwargs) -> "Board | Unix":
    """A device to run code on, as a context manager: `where` is "unix", "qemu" or a serial port."""
    if where == "unix":
        return Unix(files, **kwargs)
    if where == "qemu":
        return Board.qemu(files, **kwargs)
    return Board.serial(where, files, **kwargs)


def run(where: str, code: str, files: str | Path | None = None, timeout: float = 60, **kwargs) -> str:
    """What `code` prints on a fresh device."""
    with connect(where, files, **kwargs) as device:
        return device.exec(code, timeout)


def _die_with_parent():
    # The emulator must not outlive a killed test run. (To the kernel the thread that starts it is the parent.)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Qemu:
    """A running emulator. `port` is the pseudo-terminal of the board's serial line."""

    def __init__(self, firmware: Path, image: bytes | None, icount: bool):
        if not Path(firmware).is_file():
            raise FileNotFoundError(f"{firmware} is missing: run `make qemu`")
        command = ["qemu-system-arm", "-machine", "mps2-an500", "-nographic", "-monitor", "null", "-semihosting",
                   "-serial", "pty", "-kernel", str(firmware)]  # fmt: skip
        command += ["-icount", "shift=0"] if icount else []
        if image is not None:
            self._rom = tempfile.NamedTemporaryFile(suffix=".romfs")  # noqa: SIM115, QEMU reads it some time after start
            self._rom.write(image)
            self._rom.flush()
            command += ["-device", f"loader,file={self._rom.name},addr={ROM_ADDRESS:#x},force-raw=on"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, preexec_fn=_die_with_parent)  # fmt: skip
        self.stop = weakref.finalize(self, _kill, self.process)  # also at exit
        self.port = self._read_port()

    def _read_port(self) -> str:
        text = b""
        while select.select([self.process.stdout], [], [], 20)[0]:
            chunk = os.read(self.process.stdout.fileno(), 4096)
            text += chunk
            match = re.search(rb"redirected to (/dev/\S+)", text)
            if match:
                return match[1].decode()
            if not chunk:
                break
        self.stop()
        raise RuntimeError(f"QEMU did not start: {text.decode(errors='replace').strip() or 'no word within 20 s'}")


def _kill(process: subprocess.Popen):
    process.kill()
    process.wait()
    process.stdout.close()


class Board:
    """A board at a serial port. Names defined by one `exec` are there for the next, until `reset`."""

    def __init__(self, port: str, baudrate: int = 115200):
        from mpremote.transport_serial import SerialTransport

        # Without a timeout a read from an emulated board that hangs would never return.
        self._transport = SerialTransport(port, baudrate=baudrate, timeout=1)
        self._qemu = None
        self._on_reset = ""  # code that brings `files` back

    @classmethod
    def qemu(cls, files: str | Path | None = None, firmware: str | Path = FIRMWARE, icount: bool = False) -> "Board":
        """Start the emulated Cortex-M7. With `icount` a microsecond of its clock is 1000 instructions, exactly."""
        image = None if files is None else romfs.build(files)
        if image is not None and len(image) > ROM_SIZE:
            raise ValueError(f"{files}: {len(image)} bytes, the emulated board has room for {ROM_SIZE}, use parts")
        emulator = Qemu(Path(firmware), image, icount)
        try:
            board = cls(emulator.port)
            board._qemu = emulator
            board._on_reset = "" if image is None else MOUNT_ROM.format(ROM_ADDRESS, len(image))
            board.reset()
        except BaseException:
            emulator.stop()
            raise
        return board

    @classmethod
    def serial(cls, port: str, files: str | Path | None = None, baudrate: int = 115200) -> "Board":
        """Connect to a real board."""
        board = cls(port, baudrate)
        try:
            board.reset()
            if files is not None:
                board.mount(files)
        except BaseException:
            board.close()
            raise
        return board

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def reset(self):
        """Soft reset: stops what runs, forgets all names and a `mount`; `files` of an emulated board stay."""
        from mpremote.transport import TransportError

        if self._transport.mounted:
            self._transport.umount_local()
        for attempt in range(3):
            try:
                self._transport.enter_raw_repl(soft_reset=True, timeout_overall=5)
                break
            except TransportError:
                if attempt == 2:
                    raise
        if self._on_reset:
            self.exec(self._on_reset)

    def mount(self, folder: str | Path):
        """Let the board read and write `folder` of this PC, as its current directory /remote."""
        self._transport.is_pty = False  # mpremote's reads from a mounted pseudo-terminal know no timeout
        self._transport.mount_local(str(folder))

    def exec(self, code: str, timeout: float = 60) -> str:
        """Run `code`; returns what it prints. RemoteError when it raises, RemoteTimeout after `timeout` seconds."""
        self.start(code)
        return self.finish(timeout)

    def start(self, code: str):
        """Start `code` and return at once; `finish` must follow."""
        self._transport.exec_raw_no_follow(code)

    def interrupt(self):
        """Ctrl-C to the code that runs."""
        self._transport.serial.write(b"\x03")

    def finish(self, timeout: float = 60) -> str:
        """Wait for the code that `start` started."""
        deadline = time.monotonic() + timeout
        output = self._read_part(deadline)
        traceback = self._read_part(max(deadline, time.monotonic() + 2))
        if traceback:
            raise RemoteError(traceback, output)
        return output

    def _read_part(self, deadline: float) -> str:
        """The raw REPL sends what was printed, then the traceback if any, each closed by Ctrl-D."""
        seconds = max(deadline - time.monotonic(), 0)
        data = self._transport.read_until(1, b"\x04", timeout=None, timeout_overall=seconds)
        if not data.endswith(b"\x04"):
            self.interrupt()
            self._transport.read_until(2, b"\x04>", timeout=None, timeout_overall=5)
            self.reset()
            raise RemoteTimeout(f"no end in time; so far: {data.decode(errors='replace')[-1000:]!r}")
        return data[:-1].decode(errors="replace").replace("\r\n", "\n")

    def close(self):
        with contextlib.suppress(OSError):  # the emulator may be gone already
            self._transport.close()
        if self._qemu:
            self._qemu.stop()


class Unix:
    """The unix port with the interface of Board. Each `exec` is a new process, so no names stay."""

    def __init__(self, files: str | Path | None = None, program: str | Path = UNIX, heap: str = "4m"):
        if not Path(program).is_file():
            raise FileNotFoundError(f"{program} is missing: run `make unix`")
        self._command = [str(program), "-X", f"heapsize={heap}"]
        self._files = files
        self._process = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def exec(self, code: str, timeout: float = 60) -> str:
        self.start(code)
        return self.finish(timeout)

    def start(self, code: str):
        self.close()
        self._process = subprocess.Popen(self._command, cwd=self._files, text=True, stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                         preexec_fn=_die_with_parent)  # fmt: skip
        self._process.stdin.write(code)
        self._process.stdin.close()
        self._process.stdin = None  # or communicate() would want to flush it

    def interrupt(self):
        self._process.send_signal(signal.SIGINT)

    def finish(self, timeout: float = 60) -> str:
        try:
            output, traceback = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.close()
            raise RemoteTimeout(f"no end within {timeout} s") from None
        if self._process.returncode:
            raise RemoteError(traceback or f"exit status {self._process.returncode}", output)
        return output

    def close(self):
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
