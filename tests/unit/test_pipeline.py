"""The model of the Cortex-M7's pipeline, on stretches of code of which it is known how long they take."""

import pytest

pytest.importorskip("capstone")

from patchnet.report import pipeline
from patchnet.report.cycles import Firmware

STRETCHES = {  # assembled code, cycles
    # ldm lr!, {r4-r7}; ldm r12!, {r8-r11}; eight smlad: neither load goes with anything, nor do two smlad
    "a tile behind loads of four words": (
        "bee8f000bce8000f24fb080024fb0a1125fb082225fb0a3326fb090026fb0b1127fb092227fb0b33", (12, 12)),
    # eight smlad, an ldr.w between each two
    "the same with loads between": (
        "24fb0800dcf80cb024fb0a11def8104025fb0822dcf8108025fb0a33def81450"
        "26fb0900dcf818a026fb0b11def8186027fb0922dcf8149027fb0b33def81c70", (8, 8)),
    "smlad r0, r4, r8, r0; smlad r0, r5, r8, r0": ("24fb080025fb0800", (2, 2)),
    "ldr r4, [r0, #4]; smlad r1, r4, r8, r1": ("446824fb0811", (3, 3)),
    "smlad r0, r4, r8, r0; str r1, [r2]": ("24fb08001160", (2, 2)),
    "ldr r4, [r0]; ldr r5, [r0, #4]": ("04684568", (1, 1)),
    "ldr r4, [r0]; ldr r5, [r0, #8]": ("04688568", (2, 2)),
    "add r0, r1, r2; add r3, r4, r5": ("01eb020004eb0503", (1, 1)),
    "add r0, r1, r2, lsl #2; add r3, r0, r5, lsl #2": ("01eb820000eb8503", (2, 2)),
    "adds r0, r0, #1; bne": ("0130fdd1", (1, 2)),
    "bx lr": ("7047", (1, 7)),
    "smmulr r0, r0, r7; usat r0, #8, r0": ("50fb17f080f30800", (4, 4)),
    "udiv r0, r1, r2": ("b1fbf2f0", (6, 6)),
}  # fmt: skip


@pytest.mark.parametrize("name", STRETCHES)
def test_known_stretches(name):
    code, wanted = bytes.fromhex(STRETCHES[name][0]), STRETCHES[name][1]
    count = len(list(pipeline.decoder().disasm(code, 0)))
    assert pipeline.modelled(pipeline.disassembled(code, 0, count)) == wanted


def test_what_is_no_code():
    with pytest.raises(ValueError, match="0x100: wanted 2 instructions, got 1"):
        pipeline.disassembled(bytes.fromhex("7047"), 0x100, 2)


def test_a_block_that_ends_without_a_jump():
    """It goes on in the next one: cut in two, wherever that is, a tile takes as long."""
    firmware = object.__new__(Firmware)
    firmware.start, firmware.code = 0x1000, bytes.fromhex(STRETCHES["the same with loads between"][0])
    for cut in range(1, 16):
        known = {0x1000: cut, 0x1000 + 4 * cut: 16 - cut}
        parts = [firmware.block(address, instructions, known) for address, instructions in known.items()]
        assert tuple(map(sum, zip(*parts, strict=True))) == (8, 8)
