"""Devices for the tests: the unix port, the emulated Cortex-M7, and a real board when PATCHNET_PORT names its port.

`make test` builds both firmwares and sets PATCHNET_REQUIRE_DEVICES=1, so that a missing one is an error there. A plain
`pytest` skips what it cannot run.
"""

import contextlib
import os
import pty
import tty
from pathlib import Path

import pytest

# No test may depend on how fast the machine is: a time-out is for what hangs, here and in every process started here.
os.environ.setdefault("PATCHNET_PATIENCE", "30")
os.environ["PATCHNET_CACHE"] = ""  # plans are searched for
PATIENT = 1800

from patchnet.board import remote  # noqa: E402

WHERES = ["unix", "qemu"] + ([os.environ["PATCHNET_PORT"]] if "PATCHNET_PORT" in os.environ else [])


def require(where):
    """Skip the test, or fail it, when `where` has not been built."""
    firmware = {"unix": remote.UNIX, "qemu": remote.FIRMWARE}.get(where)
    if firmware is None or firmware.is_file():
        return
    reason = f"{firmware} is missing: run `make {where}`"
    if os.environ.get("PATCHNET_REQUIRE_DEVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def no_data(request, monkeypatch):
    """What a test sees does not depend on the user's data sets, unless it is marked `data`."""
    if request.node.get_closest_marker("data") is None:
        monkeypatch.delenv("PATCHNET_DATA", raising=False)


@pytest.fixture
def data_set():
    """data_set(name): the path of a data set in $PATCHNET_DATA. Skips the test, which is marked `data`, without it."""

    def find(name):
        path = Path(os.environ.get("PATCHNET_DATA", "")) / f"{name}.npz"
        if "PATCHNET_DATA" not in os.environ or not path.is_file():
            pytest.skip(f"needs data set {name} in $PATCHNET_DATA")
        return path

    return find


@pytest.fixture
def connect():
    """connect(where, files=None, ...): a fresh device as remote.connect gives it, closed after the test."""
    with contextlib.ExitStack() as stack:

        def open_device(where, files=None, **kwargs):
            require(where)
            return stack.enter_context(remote.connect(where, files, **kwargs))

        yield open_device


@pytest.fixture(scope="session")
def unix():
    """The unix port without files."""
    require("unix")
    with remote.connect("unix") as device:
        yield device


@pytest.fixture(scope="session")
def qemu():
    """One emulated board for all tests that need no files of their own; a test may rely on no names of another."""
    require("qemu")
    with remote.connect("qemu") as device:
        yield device


@pytest.fixture
def line():
    """A pseudo-terminal: the descriptor of its other end, and the port."""
    there, here = pty.openpty()
    tty.setraw(here)
    yield there, os.ttyname(here)
    os.close(here)
    os.close(there)


@pytest.fixture
def unread(line):
    """A port from which nobody reads, and which takes no more."""
    port = os.open(line[1], os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(port, bytes(4096))
    os.close(port)
    return line[1]


def wait_for(device, text):
    """Until the code that runs on the device has printed `text` at its beginning."""
    if isinstance(device, remote.Unix):
        got = b""
        while len(got) < len(text) and (more := os.read(device._process.stdout.fileno(), len(text) - len(got))):
            got += more
    else:
        got = device.read(len(text), PATIENT)
    assert got.decode() == text


@pytest.fixture(params=WHERES)
def where(request):
    """Each kind of device in turn, by name."""
    require(request.param)
    return request.param


def pytest_collection_modifyitems(items):
    """Marks what needs a device, so that `-m "not device"` leaves it out."""
    for item in items:
        if {"connect", "unix", "qemu", "where"} & set(item.fixturenames):
            item.add_marker("device")
