"""The Cortex-M7 kernels against the portable C of the same image, on the bare emulated processor (csrc/checkasm.c)."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cengine import BUILD
from conftest import PATIENT

HERE = Path(__file__).resolve().parents[1]
ENGINE = HERE.parent / "modpatchnet"
COMPILER, EMULATOR = "arm-none-eabi-gcc", "qemu-system-arm"
FLAGS = ["-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=soft", "-std=c99", "-O2", "-fno-builtin", "-Wall", "-Werror"]
KERNELS, ASSEMBLY = Path("engine", "kernels"), Path("engine", "kernels", "armv7em")
PORTABLE = ("pn_conv.c", "pn_fast.c", "pn_kernels.c")  # what the assembly replaces is in them
RENAMED = [f"fast_{name}" for name in ("area", "arrays", "begin", "take", "line")]
RENAMED += [f"conv_{name}" for name in ("windows", "dots", "pixels")]
RENAMED += ["pool_add", "dot", "dots", "add_products", "add_rows"]
REFERENCE = ["-DPN_PORTABLE", *(f"-Dpn_{name}=ref_{name}" for name in RENAMED)]

pytestmark = pytest.mark.skipif(
    os.environ.get("PATCHNET_REQUIRE_DEVICES") != "1" and not (shutil.which(COMPILER) and shutil.which(EMULATOR)),
    reason=f"needs {COMPILER} and {EMULATOR}: run `make tools`",
)


def ran(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def compiled(source: Path, engine: Path, flags: list[str]) -> Path:
    """The object of a source, kept in build/tests by what the compiler reads: a bug is in one or two of them."""
    command = [COMPILER, *FLAGS, *flags, f"-I{engine}"]
    read = " ".join([*FLAGS, *flags]) + ran(*command, "-E", "-P", source)
    out = BUILD / f"{source.stem}-{hashlib.sha256(read.encode()).hexdigest()[:16]}.o"
    if not out.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        part = out.with_suffix(f".{os.getpid()}")
        ran(*command, "-c", source, "-o", part)
        part.replace(out)
    return out


def image(folder: Path, engine: Path, *, times: int, seed: int) -> Path:
    """checkasm with the kernels of `engine` and, as their reference, the portable C of this tree."""
    more = [f"-DTIMES={times}", f"-DSEED={seed}u"]
    shared = [engine / KERNELS / name for name in ("pn_conv.c", "pn_fast.c")]
    kernels = [*shared, *sorted((engine / ASSEMBLY).glob("*.c"))]
    objects = [compiled(source, engine, []) for source in kernels]
    objects += [compiled(ENGINE / KERNELS / name, ENGINE, REFERENCE) for name in PORTABLE]
    objects.append(compiled(HERE / "csrc" / "checkasm.c", engine, more))
    out, script = folder / "checkasm.elf", HERE / "csrc" / "checkasm.ld"
    ran(COMPILER, *FLAGS, "-nostdlib", "-Wl,--no-warn-rwx-segments", "-T", script, *objects, "-lgcc", "-o", out)
    return out


def run(elf: Path) -> tuple[int, str]:
    """Exit status and what was printed."""
    command = [EMULATOR, "-machine", "mps2-an500", "-nographic", "-monitor", "none", "-serial", "none", "-semihosting"]
    done = subprocess.run(
        [*command, "-kernel", elf], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENT
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("seed", [1, 2])
def test_kernels_are_portable_c(tmp_path, seed):
    status, said = run(image(tmp_path, ENGINE, times=3000, seed=seed))
    assert status == 0, said
    found = {
        name: (int(cases), int(values)) for name, cases, values in re.findall(r"(\w+): (\d+) cases, (\d+) v", said)
    }
    assert found.keys() == {"bottlenecks", "convolutions", "sums"}
    assert all(cases > 600 and values > 5 * cases for cases, values in found.values()), said


NEXT = '\\n"\n    "    '  # from a line of assembly to the next one in its source
# (file, text, other text): what a slip of the pen would do to each kernel
BUGS = {
    "depthwise 3x3 rolling": ("pn_dsp_depthwise3.h", "smlad r11, r8, r2, r11", "smladx r11, r8, r2, r11"),
    "depthwise 3x3 saturates": ("pn_dsp_depthwise3.h", "usat r10, #8, r10", "usat r10, #9, r10"),
    "depthwise 3x3 of lines": ("pn_dsp_depthwise3.h", "smlabt r10, r9, r5, r10", "smlabb r10, r9, r5, r10"),
    "depthwise 5x5": ("pn_dsp_rows.h", "smlad r11, \\\\c, r2, r11", "smlad r11, \\\\d, r2, r11"),
    "depthwise 7x7": ("pn_dsp_rows.h", "smlabt r11, \\\\a, r5, r11", "smlabb r11, \\\\a, r5, r11"),
    "no expansion": ("pn_dsp_plain.h", "pkhbt r9, r9, r4, lsl #16", "pkhbt r9, r9, r9, lsl #16"),
    "8 channels": ("pn_dsp_eight.h", "smlad r7, r11, r3, r7", "smlad r7, r11, r2, r7"),
    "the second of 8 channels": ("pn_dsp_eight.h", "#0x00010001", "#0x00010000"),
    "bytes": ("pn_dsp_bytes.h", "smlad r3, r9, r8, r3", "smlad r3, r9, r6, r3"),
    "bytes of half a tile": ("pn_dsp_bytes.h", "sxtb16 r9, r8", "uxtb16 r9, r8"),
    "bytes from pixel to pixel": ("pn_dsp_fast.c", "2 * step - f->cin", "step"),
    "more than 256 channels": ("pn_dsp_project.c", "and r1, r1, #63", "and r1, r1, #255"),
    "more than 256 channels of half a tile": ("pn_dsp_project.c", "ldreq r3, [sp, #B0 + 4]", "ldreq r3, [sp, #B0]"),
    "sums of groups": ("pn_dsp_project.c", "ldr r7, [r10, #12]", "ldr r7, [r10, #4]"),
    "sums of half a tile": ("pn_dsp_project.c", f"add r1, r6, r1, asr #8{NEXT}str", f"asr r1, r1, #8{NEXT}str"),
    "a convolution's pairs": ("pn_dsp_project.c", "add r0, r0, r1", "add r0, r0, #0"),
    "a convolution's scales": ("pn_dsp_project.c", "ldr r5, [sp, #NEXT_PAIR]", "mov r5, #16"),
    "odd channels": ("pn_dsp_fast.c", "rest > 2 ? in[2] : 0, 0)", "in[2], 0)"),
    "half a tile": ("pn_dsp_quads.h", "smlad r1, r5, r8, r1", "smlad r1, r4, r8, r1"),
    "the end of sums": ("pn_dsp_project.c", "adds r0, #16", "adds r0, #8"),
    "sums of three bytes": ("pn_dsp_project.c", "lsr r5, r3, #16", "lsr r5, r3, #15"),
    "biases of three bytes": ("pn_dsp_project.c", "ubfx r4, r8, #16, #8", "ubfx r4, r8, #16, #7"),
    "from sums of three bytes": ("pn_dsp_project.c", f"#24{NEXT}add r3, r3, r2", f"#23{NEXT}add r3, r3, r2"),
    "ends of sums of three bytes": ("pn_dsp_project.c", f"asrs r3, r3, #8{NEXT}add lr", f"lsrs r3, r3, #8{NEXT}add lr"),
    "odd outputs": ("pn_dsp_conv.c", "t.out += c->cout - 2", "t.out += c->cout - 1"),
    "windows": ("pn_dsp_conv.c", "- 8 * quads * pairs + 4 * quads", "- 8 * quads * pairs - 4 * quads"),
    "windows of a picture": ("pn_dsp_widen.c", "ldr r7, [r2, #2]", "ldr r7, [r2, #3]"),
    "windows at a line's end": ("pn_dsp_conv.c", "c->in.w - c->in.pixels - x0", "c->in.w - 2 - x0"),
    "windows line by line": ("pn_dsp_conv.c", "w.x += 8 * words", "w.x += 4 * words"),
    "pooling": ("pn_dsp_sums.c", "- zero", "+ zero"),
    "products": ("pn_dsp_sums.c", "smlatt(xo, yo, acc[3])", "smlatt(xe, yo, acc[3])"),
    "products of rows": ("pn_dsp_sums.c", "upper(xe, ye), a2", "lower(xe, ye), a2"),
    "dot products": ("pn_dsp_sums.c", "smlad r6, r9, r12, r6", "smlad r6, r9, r11, r6"),
    "beyond the end": ("pn_dsp_fast.c", "p->words = a->words", "p->words = a->words + 8"),
    "sums of more than 16 bits": ("pn_dsp_pairs.c", "usat r3, #8, r3", "usat16 r3, #8, r3"),
    "depthwise sums of more than 16 bits": ("pn_dsp_rows.h", "usat r7, #8, r7", "usat16 r7, #8, r7"),
    "shifted pixels": ("pn_dsp_widen.c", "sadd16 r6, r6, r6", "mov r6, r6"),
    "shifted": ("pn_dsp_pairs.c", "lsls r3, r7", "mov r3, r3"),
    "shifted half a tile": ("pn_dsp_pairs.c", f"ldr r8, [sp, #SHIFTE]{NEXT}ldr r5", f"mov r8, #0{NEXT}ldr r5"),
    "shifted biases of 8 channels": ("pn_dsp_eight.h", "lsl r4, r4, r8", "mov r4, r4"),
    "depthwise 3x3 shifted": ("pn_dsp_depthwise3.h", "sadd16 r5, r5, r5", "mov r5, r5"),
    "depthwise 5x5 shifted": ("pn_dsp_rows.h", "cbz r4, 7f", "b 7f"),
    "two pixels before a line": ("pn_dsp_fast.c", "p->zeros > 0 && f", "false && f"),
    "two pixels before, no expansion": ("pn_dsp_fast.c", "p->head = f->pad", "p->head = f->pad & 1"),
    "lines below the map": ("pn_dsp_fast.c", "in[i].at == NULL ? NULL : f->expands", "f->expands"),
    "added to a convolution": ("pn_dsp_conv.c", "t.x != NULL ? c->cout - 2 : 0", "0"),
}  # fmt: skip


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_found(tmp_path, bug):
    """One changed instruction, or one number, is enough to fail."""
    name, text, other = BUGS[bug]
    engine = tmp_path / "engine"
    shutil.copytree(ENGINE, engine)
    source = (engine / ASSEMBLY / name).read_text()
    assert text in source
    (engine / ASSEMBLY / name).write_text(source.replace(text, other))
    status, said = run(image(tmp_path, engine, times=2000, seed=3))
    assert status == 1 and ("wanted" in said or "leaves its memory" in said or "fault" in said), said
