"""Devices for the tests: the unix port, the emulated Cortex-M7, and a real board when PATCHNET_PORT names its port.

`make test` builds both firmwares and sets PATCHNET_REQUIRE_DEVICES=1, so that a missing one is an error there. A plain
`pytest` skips what it cannot run.
"""

import contextlib
import os

import pytest

from patchnet.board import remote

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
