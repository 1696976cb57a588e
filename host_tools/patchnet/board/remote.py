"""Runs MicroPython code on a device: the emulated Cortex-M7, a real board, or the unix port.

The only module that knows mpremote, whose Python API may change between versions.

    with connect("qemu", files="folder") as device:
        print(device.exec("import os; print(os.listdir())"))

`files` is a folder that the code finds as its current directory, read-only:
    unix   the folder itself
    qemu   a ROMFS image of it, put into memory before the start: memory-mapped, as in the flash of a real board
    port   mpremote's mount (the emulated board can do that too, by `mount`, at some 20 KB/s)

A port is a device such as /dev/ttyACM0, "auto" (the only board there is), "id:SERIALNUMBER" or "socket://host:port".
"""

import contextlib
import ctypes
import io
import math
import os
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import romfs

ROOT = Path(__file__).resolve().parents[3]
FIRMWARE = ROOT / "build" / "qemu" / "firmware.elf"
UNIX = ROOT / "build" / "unix" / "micropython"
CLONE = (ROOT / "ports" / "get-micropython").is_file()  # else the package was installed by itself

ROM_ADDRESS, ROM_SIZE = 0x60400000, 9 << 20  # boards/MPS2_AN500/rom.c
MEMORY_BYTES = 16 << 20  # its external RAM: heap, ROMFS, /flash, /sd
NO_CLONE = "{0} needs a clone of patchnet's repository, in which `make {0}` builds it"
PR_SET_PDEATHSIG = 1
# What every time-out is multiplied by, but for those after which something else is tried: for a machine that is busy.
PATIENCE = float(os.environ.get("PATCHNET_PATIENCE", 1))
READ_SECONDS, START_SECONDS = 1, 10 * PATIENCE  # for a byte to come: in general, and while code is sent
PROMPT_SECONDS = 3  # for MicroPython's prompt to come, before FLOOD is tried
WRITE_SECONDS = 5 * PATIENCE  # for all bytes of a write to be taken; the most that is written at once is FLOOD
FLOOD = b"\x03" * 8192  # Ctrl-C, more than what a board still waits for whose PC went away amid a frame (see link)


class RemoteError(Exception):
    """The code on the device raised. The text is the device's traceback; `output` is what it had printed."""

    def __init__(self, traceback: str, output: str = ""):
        super().__init__(traceback)
        self.output = output

    @property
    def line(self) -> str:
        """What was raised, without the way there."""
        return str(self).strip().rsplit("\n", 1)[-1]


class RemoteTimeout(Exception):
    """The code did not end in time. It was interrupted."""


class LinkLost(Exception):
    """The board no longer answers: unplugged, reset, or without power."""


@dataclass(frozen=True)
class Port:
    """A serial port that may be a board's. `vid_pid`: "f055:9800"."""

    device: str
    serial: str | None
    vid_pid: str | None
    product: str | None


def ports() -> list[Port]:
    """The serial ports that hang on USB."""
    # imported here: only who asks a real board waits for pyserial and mpremote
    from serial.tools.list_ports import comports

    usb = sorted(p for p in comports() if p.vid is not None)
    return [Port(p.device, p.serial_number, f"{p.vid:04x}:{p.pid:04x}", p.product) for p in usb]


def find_port(name: str) -> str:
    """What to open for a port as the user names it. ValueError tells what there is."""
    there = ports()
    names = ", ".join(f"{p.device} (id:{p.serial})" for p in there) or "none"
    if name == "auto":
        if len(there) != 1:
            raise ValueError(f"--port auto: wanted one board on USB, got {names}")
        return there[0].device
    if name.startswith("id:"):
        found = [p.device for p in there if p.serial == name[3:]]
        if not found:
            raise ValueError(f"--port {name}: no such board; there is {names}")
        return found[0]
    return name.removeprefix("port:")


def _no_access(port: str) -> str | None:
    """Why a device that is named by a path cannot be opened; None if that is not to be seen from here."""
    if os.name != "posix" or "://" in port:
        return None
    if not os.path.exists(port):
        names = ", ".join(p.device for p in ports()) or "none"
        return f"there is no such device; on USB: {names}"
    if not os.access(port, os.R_OK | os.W_OK):
        return "this user may not open it; on most systems the group dialout may"
    return None


def connect(where: str, files: str | Path | None = None, **kwargs) -> "Board | Unix":
    """A device to run code on, as a context manager: `where` is "unix", "qemu" or a serial port."""
    if where == "unix":
        return Unix(files, **kwargs)
    if where == "qemu":
        return Board.qemu(files, **kwargs)
    return Board.serial(where, files, **kwargs)


def run(where: str, code: str, files: str | Path | None = None, timeout: float = 60 * PATIENCE, **kwargs) -> str:
    """What `code` prints on a fresh device."""
    with connect(where, files, **kwargs) as device:
        return device.exec(code, timeout)


def _die_with_parent():
    # The emulator must not outlive a killed test run. (To the kernel the thread that starts it is the parent.)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def check_built(program: str | Path, name: str) -> None:
    """FileNotFoundError if `program`, which `make name` builds, is not there."""
    if Path(program).is_file():
        return
    if not CLONE and program in (UNIX, FIRMWARE):
        raise FileNotFoundError(NO_CLONE.format(name))
    raise FileNotFoundError(f"{program} is missing: run `make {name}`")


class Qemu:
    """A running emulator. `port` is the pseudo-terminal of the board's serial line."""

    def __init__(
        self, firmware: Path, image: bytes | None, icount: bool, storage: str | Path | None = None,
        more: Sequence[str] = (),
    ):  # fmt: skip
        check_built(firmware, "qemu")
        command = ["qemu-system-arm", "-machine", "mps2-an500", "-nographic", "-monitor", "null", "-semihosting",
                   "-serial", "pty", "-kernel", str(firmware), *more]  # fmt: skip
        command += ["-icount", "shift=0"] if icount else []
        if storage is not None:
            backend = f"memory-backend-file,id=psram,mem-path={storage},size={MEMORY_BYTES},share=on"
            command += ["-object", backend, "-machine", "memory-backend=psram"]
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
        assert self.process.stdout  # it is a pipe
        text = b""
        while select.select([self.process.stdout], [], [], 20 * PATIENCE)[0]:
            chunk = os.read(self.process.stdout.fileno(), 4096)
            text += chunk
            match = re.search(rb"redirected to (/dev/\S+)", text)
            if match:
                return match[1].decode()
            if not chunk:
                break
        self.stop()
        raise RuntimeError(f"QEMU did not start: {text.decode(errors='replace').strip() or 'no word in time'}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.terminate()  # plugins write then what they have counted
    try:
        process.wait(10 * PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


class Line:
    """A serial port as pyserial has it, from which nothing comes after `until` (of time.monotonic): mpremote reads on
    for as long as a board sends."""

    def __init__(self, serial):
        self._serial = serial
        self.until = math.inf

    def __getattr__(self, name: str):
        return getattr(self._serial, name)

    @property
    def timeout(self) -> float:
        return self._serial.timeout

    @timeout.setter
    def timeout(self, seconds: float):
        self._serial.timeout = seconds

    def inWaiting(self) -> int:
        return self._serial.in_waiting if time.monotonic() < self.until else 0

    def read(self, n: int = 1) -> bytes:
        return self._serial.read(n) if time.monotonic() < self.until else b""


class Board:
    """A board at a serial port. Names defined by one `exec` are there for the next, until `reset`."""

    def __init__(self, port: str, baudrate: int = 115200):
        # imported here: as pyserial above
        from mpremote.transport_serial import SerialTransport

        self.port = find_port(port)
        trouble = _no_access(self.port)
        if trouble:
            raise LinkLost(f"{self.port}: no answer ({trouble})")
        self._qemu: Qemu | None = None
        self._on_reset = ""  # code that brings `files` back
        self._lost = False  # whether what was tried last failed
        # Without time-outs a read from a board that hangs, or a write to it, would never return.
        with self._link():
            self._transport = SerialTransport(self.port, baudrate=baudrate, timeout=READ_SECONDS)
        self._serial = self._transport.serial
        self._serial.write_timeout = WRITE_SECONDS
        self._line = self._transport.serial = Line(self._serial)

    @classmethod
    def qemu(
        cls, files: str | Path | None = None, firmware: str | Path = FIRMWARE, icount: bool = False,
        storage: str | Path | None = None, more: Sequence[str] = (),
    ) -> "Board":  # fmt: skip
        """Start the emulated Cortex-M7. With `icount` a microsecond of its clock is 1000 instructions, exactly.
        `storage` is a file that holds its flash and card, so that they outlive it; it is made if there is none.
        `more`: arguments of QEMU."""
        image = None if files is None else romfs.build(files)
        if image is not None and len(image) > ROM_SIZE:
            raise ValueError(f"{files}: {len(image)} bytes, the emulated board has room for {ROM_SIZE}, use parts")
        emulator = Qemu(Path(firmware), image, icount, storage, more)
        try:
            board = cls(emulator.port)
            board._qemu = emulator
            board._on_reset = "" if image is None else "import os\nos.chdir('/rom')"
            board.reset()
        except BaseException:
            emulator.stop()
            raise
        return board

    @classmethod
    def serial(
        cls, port: str, files: str | Path | None = None, baudrate: int = 115200, reset: bool = True
    ) -> "Board":  # fmt: skip
        """Connect to a real board. Without `reset` what its REPL holds stays."""
        board = cls(port, baudrate)
        try:
            board.reset(reset)
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

    @contextlib.contextmanager
    def _link(self) -> Iterator[None]:
        """What pyserial and mpremote raise when a board goes away, as LinkLost. mpremote also prints: not on stdout."""
        # imported here: as pyserial above
        from mpremote.transport import TransportError
        from serial import SerialTimeoutException

        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield
        except (OSError, TransportError, struct.error) as e:
            self._lost = True
            unread = isinstance(e, SerialTimeoutException)  # pyserial has it for writing only
            why = "what is sent there is not read" if unread else " ".join(str(e).split())
            raise LinkLost(f"{self.port}: no answer ({why})") from e
        self._lost = False

    @contextlib.contextmanager
    def _link_until(self, deadline: float) -> Iterator[None]:
        """The same, and what comes after `deadline` is not read."""
        self._line.until = deadline
        try:
            with self._link():
                yield
        finally:
            self._line.until = math.inf

    def reset(self, soft: bool = True):
        """Soft reset: stops what runs, forgets all names and a `mount`; `files` of an emulated board stay.
        Not `soft`: only stops what runs."""
        with self._link_until(time.monotonic() + START_SECONDS):
            if self._transport.mounted:
                self._transport.umount_local()
        try:
            self._enter(False, PROMPT_SECONDS)
        except LinkLost:
            self.write(FLOOD)
            self._enter(False, 10 * PATIENCE)
            self.read(len(FLOOD), READ_SECONDS)  # another prompt may come, for the first try
            self._enter(False, 10 * PATIENCE)
        if soft:
            for attempt in range(3):
                try:
                    self._enter(True, 10 * PATIENCE)
                    break
                except LinkLost:
                    if attempt == 2:
                        raise
        if self._on_reset:
            self.exec(self._on_reset)

    def _enter(self, soft: bool, seconds: float):
        # imported here: as pyserial above
        from mpremote.transport import TransportError

        # mpremote's seconds are for each of the things that it waits for, and only while nothing comes.
        with (
            self._link_until(time.monotonic() + (3 if soft else 1) * seconds),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            try:
                self._transport.enter_raw_repl(soft_reset=soft, timeout_overall=seconds)
            except TransportError:
                raise TransportError("MicroPython's prompt does not come at Ctrl-C") from None

    def write(self, data: bytes):
        """Raw bytes to the code that runs."""
        with self._link():
            self._transport.serial.write(data)

    def read(self, n: int, seconds: float) -> bytes:
        """`n` raw bytes of what the code that runs writes, or fewer after `seconds`."""
        data, deadline = b"", time.monotonic() + seconds
        with self._link():
            while len(data) < n and time.monotonic() < deadline:
                data += self._transport.serial.read(n - len(data))
        return data

    def mount(self, folder: str | Path):
        """Let the board read and write `folder` of this PC, as its current directory /remote."""
        self._transport.is_pty = False  # mpremote's reads from a mounted pseudo-terminal know no timeout
        with self._link_until(time.monotonic() + 60 * PATIENCE):
            self._transport.mount_local(str(folder))

    def exec(self, code: str, timeout: float = 60 * PATIENCE) -> str:
        """Run `code`; returns what it prints. RemoteError when it raises, RemoteTimeout after `timeout` seconds."""
        self.start(code)
        return self.finish(timeout)

    def start(self, code: str):
        """Start `code` and return at once; `finish` must follow."""
        serial = self._transport.serial
        try:
            with self._link_until(time.monotonic() + 60 * PATIENCE):
                serial.timeout = START_SECONDS
                self._transport.exec_raw_no_follow(code)
        finally:
            with contextlib.suppress(OSError):  # the board may be gone already
                serial.timeout = READ_SECONDS

    def interrupt(self):
        """Ctrl-C to the code that runs."""
        self.write(b"\x03")

    def finish(self, timeout: float = 60 * PATIENCE) -> str:
        """Wait for the code that `start` started."""
        deadline = time.monotonic() + timeout
        output = self._read_part(deadline)
        traceback = self._read_part(max(deadline, time.monotonic() + 2 * PATIENCE))
        if traceback:
            raise RemoteError(traceback, output)
        return output

    def _read_part(self, deadline: float) -> str:
        """The raw REPL sends what was printed, then the traceback if any, each closed by Ctrl-D."""
        got: list[bytes] = []
        seconds = max(deadline - time.monotonic(), 0)
        # With a consumer mpremote does not copy all that has come for each byte that comes.
        with self._link_until(deadline):
            self._transport.read_until(1, b"\x04", timeout=None, data_consumer=got.append, timeout_overall=seconds)
        data = b"".join(got)
        if not data.endswith(b"\x04"):
            self.interrupt()
            with self._link_until(time.monotonic() + 5 * PATIENCE):
                self._transport.read_until(2, b"\x04>", timeout=None, timeout_overall=5 * PATIENCE)
            self.reset()
            last = data.decode(errors="replace")[-1000:]
            raise RemoteTimeout(f"{self.port}: what runs there does not end in time; last words {last!r}")
        return data[:-1].decode(errors="replace").replace("\r\n", "\n")

    def close(self):
        self._transport.serial = self._serial  # without a mounted folder
        # The board may be gone already, for which each kind of port has an exception; sockets cannot drop anything.
        with contextlib.suppress(Exception):
            if self._lost:
                self._serial.reset_output_buffer()  # closing would wait for it to be read
            elif not self._qemu:
                self._transport.exit_raw_repl()
        with contextlib.suppress(OSError):
            self._transport.close()
        if self._qemu:
            self._qemu.stop()


class Unix:
    """The unix port with the interface of Board. Each `exec` is a new process, so no names stay."""

    def __init__(self, files: str | Path | None = None, program: str | Path = UNIX, heap: str = "4m"):
        check_built(program, "unix")
        self._command = [str(program), "-X", f"heapsize={heap}"]
        self._files = files
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def exec(self, code: str, timeout: float = 60 * PATIENCE) -> str:
        self.start(code)
        return self.finish(timeout)

    def start(self, code: str):
        self.close()
        self._process = subprocess.Popen(self._command, cwd=self._files, text=True, stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                         preexec_fn=_die_with_parent)  # fmt: skip
        assert self._process.stdin  # it is a pipe
        self._process.stdin.write(code)
        self._process.stdin.close()
        self._process.stdin = None  # or communicate() would want to flush it

    def interrupt(self):
        if self._process:
            self._process.send_signal(signal.SIGINT)

    def finish(self, timeout: float = 60 * PATIENCE) -> str:
        try:
            assert self._process  # `start` comes before
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
