"""The folders of boards/: what MicroPython's build gets from them, and whether linker scripts and docs agree.

Needs MicroPython's sources (`make micropython`), not the libraries that a whole firmware takes.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

from patchnet.make import boards

ROOT = Path(__file__).resolve().parents[2]
PORT = ROOT / "build" / "micropython" / "ports" / "stm32"
BOARDS = sorted(mk.parent for mk in (ROOT / "boards").glob("*/mpconfigboard.mk") if "stm32h7.mk" in mk.read_text())
DOCS = ROOT / "docs" / "boards.md"
INTERNAL_FLASH = range(0x08000000, 0x08200000)
SECTOR = 128 << 10
DTCM = 0x20000000
RESET = ".global Reset_Handler\nReset_Handler: nop\n"


@pytest.fixture(params=BOARDS, ids=lambda board: board.name)
def board(request):
    """A board's folder; skipped when the tree has no such board and the folder says since when there is one."""
    if not PORT.is_dir():
        reason = f"{PORT} is missing: run `make micropython`"
        pytest.fail(reason) if os.environ.get("PATCHNET_REQUIRE_DEVICES") == "1" else pytest.skip(reason)
    if not (PORT / "boards" / request.param.name / "mpconfigboard.mk").is_file():
        since = re.search(r"PATCHNET_BOARD_SINCE = (\S+)", (request.param / "mpconfigboard.mk").read_text())
        assert since, f"{request.param.name} is not in this tree, and its folder does not say since when it is in any"
        pytest.skip(f"this tree is older than MicroPython {since[1]}")
    return request.param


def settings(board: Path, folder: Path) -> dict[str, str]:
    """What MicroPython's makefile knows after reading the board."""
    names = ["BOARD_DIR", "FROZEN_MANIFEST", "MICROPY_MANIFEST_PATCHNET_BASE", "USER_C_MODULES", "LD_FILES", "CFLAGS"]
    names += ["MICROPY_HW_ENABLE_ISR_UART_FLASH_FUNCS_IN_RAM"]
    lines = ["BOARD ?= $(notdir $(BOARD_DIR:/=))", "include $(BOARD_DIR)/mpconfigboard.mk", "all:"]
    lines += [f"\t@echo '{name}=$({name})'" for name in names]
    (folder / "Makefile").write_text("\n".join(lines) + "\n")
    command = ["make", "-s", "-C", PORT, "-f", folder / "Makefile", f"BOARD_DIR={board}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def link(board: Path, folder: Path, source: str = RESET, more: tuple[Path, ...] = ()) -> tuple[dict[str, int], str]:
    """Symbols and addresses of a program linked as the board's firmware is, and the linker's complaint if any."""
    found = settings(board, folder)
    scripts = [f"-T{script}" for script in (*found["LD_FILES"].split(), *more)]
    isr = "ram" if found["MICROPY_HW_ENABLE_ISR_UART_FLASH_FUNCS_IN_RAM"] == "1" else "rom"
    (folder / "program.s").write_text(".syntax unified\n" + source)
    command = ["arm-none-eabi-gcc", "-nostdlib", "-mcpu=cortex-m7", "-Lboards", f"-Lboards/common_isr_{isr}"]
    command += [*scripts, "-Wl,--defsym=_estack_reserve=8", "-o", folder / "program", folder / "program.s"]
    done = subprocess.run(command, cwd=PORT, capture_output=True, text=True)
    if done.returncode:
        return {}, done.stderr
    table = subprocess.run(["arm-none-eabi-nm", folder / "program"], capture_output=True, text=True, check=True).stdout
    return {name: int(at, 16) for at, _, name in map(str.split, table.splitlines())}, ""


def docs_row(board: Path) -> str:
    return next(line for line in DOCS.read_text().splitlines() if line.startswith(f"| {board.name} "))


def test_there_are_boards():
    assert len(BOARDS) >= 6


def test_board_is_micropythons_with_patchnet(board, tmp_path):
    found = settings(board, tmp_path)
    assert found["BOARD_DIR"] == f"boards/{board.name}"
    assert found["USER_C_MODULES"] == str(ROOT)
    assert found["FROZEN_MANIFEST"] == str(ROOT / "boards" / "manifest.py")
    assert Path(found["MICROPY_MANIFEST_PATCHNET_BASE"]).is_file()
    assert all((PORT / script).is_file() for script in found["LD_FILES"].split())


def test_romfs_is_where_the_docs_say(board, tmp_path):
    symbols, complaint = link(board, tmp_path)
    assert symbols, complaint
    start, size = symbols["_micropy_hw_romfs_part0_start"], symbols["_micropy_hw_romfs_part0_size"]
    row = docs_row(board)
    assert f"{size >> 10:,} KiB at 0x{start:08x}" in row
    assert size % SECTOR == start % SECTOR == 0


def test_romfs_in_internal_flash_is_switched_on_and_guarded(board, tmp_path):
    symbols, _ = link(board, tmp_path)
    start = symbols["_micropy_hw_romfs_part0_start"]
    inside = start in INTERNAL_FLASH
    assert ("-DMICROPY_HW_ROMFS_ENABLE_INTERNAL_FLASH=1" in settings(board, tmp_path)["CFLAGS"]) == inside
    config = (PORT / "boards" / board.name / "mpconfigboard.h").read_text()
    assert bool(re.search(r"MICROPY_HW_ROMFS_ENABLE_EXTERNAL_QSPI\s+\(1\)", config)) == (not inside)
    if inside:
        last = start - (symbols["_sidata"] & ~0xFF)
        _, complaint = link(board, tmp_path, f"{RESET}.text\n.fill {last + 512}\n")
        assert "the firmware reaches into ROMFS" in complaint


def test_arena_lies_in_dtcm_where_it_is_free(board, tmp_path):
    """MicroPython's cache of the internal flash's file system lies in DTCM, where there is such a file system."""
    config = (PORT / "boards" / board.name / "mpconfigboard.h").read_text()
    free = bool(re.search(r"MICROPY_HW_ENABLE_INTERNAL_FLASH_STORAGE\s+\(0\)", config))
    assert docs_row(board).split("|")[-2].strip() == ("128 KiB" if free else "in use")
    assert ("-DPATCHNET_BOARD_ARENA=1" in settings(board, tmp_path)["CFLAGS"]) == free
    symbols, complaint = link(board, tmp_path)
    assert symbols, complaint
    arena = [symbols.get(f"_patchnet_arena_{end}") for end in ("start", "end")]
    assert arena == ([DTCM, DTCM + (128 << 10)] if free else [None, None])
    stack_and_heap = range(symbols["_ram_start"], symbols["_estack"])
    assert DTCM not in stack_and_heap and symbols["_heap_start"] in stack_and_heap


def test_nothing_else_may_come_into_the_arenas_dtcm(board, tmp_path):
    """A section of MicroPython's own, as a later version may have one."""
    script = tmp_path / "more.ld"
    script.write_text("SECTIONS { .more (NOLOAD) : { *(.more) } > DTCM }\n")
    _, complaint = link(board, tmp_path, RESET + '.section .more, "aw", %nobits\n.fill 4\n', (script,))
    ours = "-DPATCHNET_BOARD_ARENA=1" in settings(board, tmp_path)["CFLAGS"]
    assert ("region `DTCM' overflowed" in complaint) == ours and bool(complaint) == ours


def test_a_board_that_the_tree_lacks_is_named(tmp_path):
    (tmp_path / "NO_SUCH_BOARD").mkdir()
    (tmp_path / "NO_SUCH_BOARD" / "mpconfigboard.mk").write_text(f"include {ROOT}/boards/stm32h7.mk\n")
    (tmp_path / "Makefile").write_text("BOARD = NO_SUCH_BOARD\ninclude $(BOARD_DIR)/mpconfigboard.mk\nall:\n")
    done = subprocess.run(
        ["make", "-C", tmp_path, f"BOARD_DIR={tmp_path}/NO_SUCH_BOARD"], capture_output=True, text=True
    )
    assert done.returncode and "this MicroPython has no board NO_SUCH_BOARD" in done.stderr


def test_what_networks_are_chosen_by_is_what_the_docs_say():
    """Clock, ROMFS and heap of each folder's board."""
    row = re.compile(r"^\| (\w+) \| STM32H7[^|]*\| (\d+) MHz \| ([\d,]+) KiB at [^|]*\| (\d+) KiB \|", re.M)
    told = {
        name: (int(clock) * 10**6, int(romfs.replace(",", "")) << 10, int(heap) << 10)
        for name, clock, romfs, heap in row.findall(DOCS.read_text())
    }
    assert told == {name: room[:3] for name, room in boards.BOARDS.items()}
    assert told.keys() == {board.name for board in BOARDS}
