"""The Cortex-M7's objects, portable C of 32 bits and of 64: the same verdicts and answers on the same blobs, between
pages that nobody may touch (csrc/replay.c, under qemu-arm)."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

import guided
from cases import moved
from cengine import ENGINE, compile_engine
from fuzz import KINDS
from patchnet import format as fmt
from patchnet.blob.pack import seal

ARM = "arm-none-eabi-gcc"
pytestmark = pytest.mark.skipif(
    not (shutil.which("qemu-arm") and shutil.which(ARM)), reason=f"needs qemu-arm and {ARM}: ports/install-tools fuzz"
)
CORTEX_M7 = ["-mcpu=cortex-m7", "-mthumb", "-mfpu=fpv5-d16", "-mfloat-abi=hard"]
BARE = ["-static", "-nostartfiles", "-specs=nosys.specs", "-Wl,-Ttext-segment=0x10000"]
# no library of UBSan's is needed where what it finds is an illegal instruction
UBSAN = ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
BUILDS = {
    "64 bits": [],
    "32 bits": [*CORTEX_M7, *BARE, "-DPN_PORTABLE", *UBSAN],
    "Cortex-M7": [*CORTEX_M7, *BARE],
}


def answers(build: str, blobs: list[bytes]) -> list[str]:
    """A line for each blob: what opening said, and a sum over all that its runs gave."""
    flags = BUILDS[build]
    program = compile_engine(
        "replay", ["-std=gnu99", "-O2" if build == "Cortex-M7" else "-O1", *flags], ARM if flags else None
    )
    command = ["qemu-arm", program] if flags else [program]
    data = b"".join(struct.pack("<I", len(blob)) + blob for blob in blobs)
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0 and len(lines) == len(blobs), f"blob {len(lines)}: {lines[-1:]} {done.stderr.decode()}"
    return lines


def test_big_endian_machines():
    """On them it would answer otherwise: it does not compile."""
    command = [ARM, "-mbig-endian", "-fsyntax-only", f"-I{ENGINE}", str(ENGINE / "engine" / "pn_open.c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode and 'error "patchnet: arrays are read where they lie' in done.stderr.replace("#", "")


def damaged(rng, blob: bytes) -> bytes:
    """One to three bytes of it are others, CRC repaired."""
    out = bytearray(blob)
    for at in rng.integers(0, len(out), int(rng.integers(1, 4))):
        out[at] = rng.integers(256)
    return seal(out)


def far_offsets(blob: bytes) -> list[bytes]:
    """Each offset of header and task record in turn so far that in 32 bits it wraps, wherever the blob lies."""
    out = []
    for table, at in ((fmt.HEADER, 0), *((t, fmt.HEADER.unpack(blob)["task_off"]) for t in (fmt.AUDIO, fmt.DETECT))):
        for name, place in table.offsets().items():
            if name.endswith("_off") and (at or table is fmt.HEADER):
                for offset in (0x7FFFFFF0, 0x80000000, 0xFFFFFFF0):
                    far = bytearray(blob)
                    struct.pack_into("<I", far, at + place, offset)
                    out.append(seal(far))
    return out


def hostile(folder: Path) -> list[bytes]:
    """Networks of each kind; those with a number of their plan moved, with offsets that wrap, and damaged."""
    guided.write_seeds(folder, 4 * len(KINDS))
    rng, good = np.random.default_rng(0), [path.read_bytes() for path in sorted(folder.iterdir())]
    far = [other for blob in good[:: len(good) // 8] for other in far_offsets(blob)]
    return good + far + [moved(rng, b)[1] for b in good for _ in range(4)] + [damaged(rng, b) for b in good * 12]


def test_equal_answers(tmp_path):
    blobs = hostile(tmp_path)
    wanted = answers("64 bits", blobs)
    assert sum(line.startswith("ran") for line in wanted) > 120 and len({line.split()[0] for line in wanted}) > 6
    for build in ("32 bits", "Cortex-M7"):
        bad = [
            (i, *pair) for i, pair in enumerate(zip(answers(build, blobs), wanted, strict=True)) if len(set(pair)) > 1
        ]
        assert not bad, f"{build}: blob, its answer, that of 64 bits: {bad[:5]}"
