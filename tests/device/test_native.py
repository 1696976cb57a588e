"""patchnet as a native .mpy, on firmwares without it: it prints what the built-in module and CPython print."""

import os
import shutil
import subprocess
import sys

import pytest
from test_device_api import check_interrupt, expected, folder, script, write_long  # noqa: F401, folder is a fixture
from test_equality_device import GOLDEN, SCRIPT, assert_printed, golden_entries, printed, random_folder  # noqa: F401
from test_float32_device import check, float_folder  # noqa: F401

from conftest import PATIENT
from patchnet.board import remote

BUILD = remote.ROOT / "build"
ARCHS = {"unix": "x64", "qemu": "armv7emsp"}
STOCK = {"unix": BUILD / "unix-stock" / "micropython", "qemu": BUILD / "qemu-stock" / "firmware.elf"}


def require(path):
    if not path.is_file():
        reason = f"{path} is missing: run `make native`"
        pytest.fail(reason) if os.environ.get("PATCHNET_REQUIRE_DEVICES") == "1" else pytest.skip(reason)
    return path


@pytest.fixture(params=["unix", "qemu"])
def native(request, tmp_path):
    """native(files): a device without patchnet; its current directory is a copy of `files` and the native module."""
    devices, where = [], request.param

    def connect(files):
        together = tmp_path / "together"
        shutil.copytree(files, together)
        shutil.copy(require(BUILD / "natmod" / ARCHS[where] / "patchnet.mpy"), together)
        program = require(STOCK[where])
        device = remote.Unix(together, program) if where == "unix" else remote.Board.qemu(together, program)
        devices.append(device)
        return device

    connect.where = where
    yield connect
    for device in devices:
        device.close()


def test_stock_firmware_has_no_patchnet(native, tmp_path):
    (tmp_path / "none").mkdir()
    device = native(tmp_path / "none")
    code = "import sys\nsys.path[:] = ['.frozen']\ntry:\n    import {}\nexcept ImportError as e:\n    print(e)"
    for name in ("patchnet", "_patchnet"):
        assert device.exec(code.format(name)) == f"no module named '{name}'\n"


@pytest.mark.parametrize("name", ["api", "changed", "errors", "memory", "busy", "romfs", "shared", "stream"])
def test_prints_what_is_expected(native, folder, name):  # noqa: F811
    assert native(folder).exec(script(name), PATIENT) == expected(name)


def test_ctrl_c_ends_a_long_inference(native, tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    write_long(native.where, files)
    check_interrupt(native(files))


def test_golden_cases(native):
    assert_printed(printed(native(GOLDEN).exec(SCRIPT.read_text())), golden_entries(), GOLDEN)


def test_random_networks(native, random_folder):  # noqa: F811
    files, entries = random_folder
    assert_printed(printed(native(files).exec(SCRIPT.read_text())), entries, files)


def test_float32_networks(native, float_folder):  # noqa: F811
    files, wanted = float_folder
    check(native(files), wanted)


def test_mip_installs_it(tmp_path):
    """As on a real board, but into a folder of this PC that the emulated board has mounted."""
    package = require(BUILD / "natmod" / "armv7emsp" / "patchnet.mpy").with_name("package.json")
    look = "import sys; sys.path.append('/remote/lib'); import patchnet, filecam, filemic; print(patchnet.Model)"
    for _ in range(10):  # on a busy machine mpremote's patience with the mounted folder may end
        emulator = remote.Qemu(require(STOCK["qemu"]), None, False)
        command = [sys.executable, "-m", "mpremote", "connect", emulator.port, "mount", tmp_path]
        command += ["mip", "install", "--target=/remote/lib", package, "+", "exec", look]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENT)
        finally:
            emulator.stop()
        if done.returncode == 0:
            break
    assert "<class 'Model'>\n" in done.stdout, done.stdout + done.stderr  # mpremote's own lines may come last
