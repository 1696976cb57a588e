"""Cycles that a Cortex-M7 takes for a stretch of code, by a model: in order, up to two instructions a cycle.

The rules are those of published measurements on an STM32H743 (jnk0le's notes on the Cortex-M7's pipeline), which agree
with SLOTHY's model of that processor: one multiplication a cycle, whose sum may go into the next one at once, but whose
factors must have been loaded two cycles before; a multiplication goes with one load of a word and with no store; two
loads go together if they lie an odd number of words apart; loads and stores of several words go alone, two words a
cycle. Caches, flash and the bus are left out; of branches the least and the most that was measured are told (BRANCHES).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache

import capstone
from capstone import arm

FLAGS, STACK = arm.ARM_REG_CPSR, arm.ARM_REG_SP
TURNS = 3  # a stretch is issued so often behind itself, as in a loop; the last turn counts
BRANCHES = {"least": (0, 0), "most": (1, 6)}  # cycles behind a taken branch, and behind one to an address in a register

CONDITIONS = ["eq", "ne", "cs", "hs", "cc", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le"]
ALWAYS = (arm.ARM_CC_AL, arm.ARM_CC_INVALID)
JUMPS = ("b", "bl", "bx", "blx", "cbz", "cbnz", "tbb", "tbh")
DIVISIONS = ("sdiv", "udiv")
MULTIPLY = re.compile(r"mul$|ml[as]$|[us]mul|[us]mla|smm[ul]|smua|smls|smus|umaal")
ACCUMULATE = re.compile(r"ml[as]$|smla[bdtw]|smml[as]|smlsd")
LONG_SUM = re.compile(r"[us]mlal|umaal")
SATURATE = re.compile(r"[su]xt|[su]sat|pkh|[us]bfx|bf[ic]|rev|rbit|clz|[su](h|q)?(add|sub)|sel$|q(add|sub)|usad")
SHIFTS = ("lsl", "lsr", "asr", "ror", "mov")
EARLY = ("add", "sub", "addw", "subw", "movw", "movt", *SHIFTS[:3], "mov")
MANY = re.compile(r"(ld|st)m(ia|db)?$|push|pop|(ld|st)rd$|v(ldm|stm)(ia|db)?$|vpush|vpop")


@dataclass
class Instruction:
    """What the model knows of one. `kind`: mac, load, store, loads, stores (several words), dsp, float, divide, branch
    or alu. `cycles` until the next may issue, `latency` until its result is there. Registers: `reads`, `writes`; of the
    reads `sums`, which a mac adds to, and `address`."""

    kind: str
    bytes: int
    reads: set[int]
    writes: set[int]
    cycles: int = 1
    latency: int = 1
    alone: bool = False
    jumps: bool = False
    indirect: bool = False
    shifted: bool = False
    early: bool = False
    sums: set[int] = field(default_factory=set)
    address: set[int] = field(default_factory=set)
    moved: set[int] = field(default_factory=set)  # a base that is written back
    place: tuple[int, int] | None = None  # base and offset of a word
    order: list[int] = field(default_factory=list)  # of what several words are loaded into


def name_of(code: capstone.CsInsn) -> str:
    """The mnemonic without width, condition and the s of flags."""
    name = code.mnemonic.replace(".w", "").replace(".n", "")
    if code.cc not in ALWAYS and not code.group(arm.ARM_GRP_JUMP):
        name = next((name[:-2] for c in CONDITIONS if name.endswith(c) and len(name) > 3), name)
    plain = ("add", "sub", "and", "orr", "eor", "mul", "bic", "rsb", "adc", "sbc", "mvn", *SHIFTS)
    return name[:-1] if name.endswith("s") and name[:-1] in plain else name


def decode(code: capstone.CsInsn) -> Instruction:
    reads, writes = map(set, code.regs_access())
    name, ops = name_of(code), code.operands
    jumps = arm.ARM_REG_PC in writes or name in JUMPS or code.group(arm.ARM_GRP_JUMP)
    out = Instruction("alu", code.size, reads, writes, jumps=bool(jumps))
    out.indirect = out.jumps and (name in ("bx", "blx", "tbb", "tbh") or bool(MANY.match(name)) or name == "ldr")
    if MANY.match(name):
        several(out, name, code)
    elif MULTIPLY.match(name):
        out.kind, out.latency = "mac", 2
        if ACCUMULATE.match(name) and not LONG_SUM.match(name) and len(ops) == 4:
            out.sums = {ops[3].reg} - {ops[1].reg, ops[2].reg}
        elif LONG_SUM.match(name):
            out.sums = {ops[0].reg, ops[1].reg} - {ops[2].reg, ops[3].reg}
    elif name.startswith(("ldr", "vldr")):
        out.kind, out.latency = "load", 1 if name in ("ldr", "vldr") else 2
    elif name.startswith(("str", "vstr")):
        out.kind = "store"
    elif name.startswith("v"):
        out.kind, out.latency, out.cycles = "float", 3, 16 if name.startswith(("vdiv", "vsqrt")) else 1
    elif name in DIVISIONS:
        out.kind, out.cycles, out.alone = "divide", 6, True
    elif SATURATE.match(name):
        out.kind = "dsp"
        reads |= {o.reg for o in ops[1:] if o.type == arm.ARM_OP_REG}  # of some capstone forgets to tell them
    elif out.jumps:
        out.kind = "branch"
    else:
        out.shifted = name not in SHIFTS and any(o.type == arm.ARM_OP_REG and o.shift.type for o in ops)
        out.early = name in EARLY and not out.shifted
    if out.kind in ("load", "store", "loads", "stores"):
        addressed(out, name, ops)
    return out


def several(out: Instruction, name: str, code: capstone.CsInsn) -> None:
    """Loads and stores of several words."""
    registers = [o.reg for o in code.operands if o.type == arm.ARM_OP_REG]
    based = name not in ("push", "pop", "vpush", "vpop", "ldrd", "strd")
    words = (len(registers) - based) * (2 if name.startswith("v") and " d" in code.op_str else 1)
    out.kind = "loads" if "ld" in name or "pop" in name else "stores"
    out.alone, out.cycles = True, max(1, (words + 1) // 2)
    out.order = registers[based:]


def addressed(out: Instruction, name: str, ops: Sequence[arm.ArmOp]) -> None:
    """Which registers an address is made of."""
    memory = [o.mem for o in ops if o.type == arm.ARM_OP_MEM]
    out.address = {register for m in memory for register in (m.base, m.index) if register}
    if name in ("push", "pop", "vpush", "vpop"):
        out.address = {STACK}
    elif not memory and ops:
        out.address = {ops[0].reg}
    out.moved = out.writes & out.address
    if len(memory) == 1 and not memory[0].index and not out.moved:
        out.place = memory[0].base, memory[0].disp


# ---------------------------------------------------------------- two at once

NEVER = {  # kinds that do not go together, in any order
    frozenset(pair) for pair in (("mac",), ("mac", "store"), ("store",), ("float",), ("dsp",))
}


def together(a: Instruction, b: Instruction) -> bool:
    """Whether `b` may issue in the cycle of `a`, which comes before it, as far as these two go."""
    if a.alone or b.alone or a.jumps or a.cycles > 1 or b.cycles > 1 or b.kind == "dsp":
        return False
    if frozenset((a.kind, b.kind)) in NEVER or (a.writes & b.writes) - {FLAGS}:
        return False
    if a.kind == b.kind == "load" and not apart(a, b):
        return False
    if (a.shifted or a.kind == "dsp") and b.shifted:
        return False
    return fed(a, b)


def apart(a: Instruction, b: Instruction) -> bool:
    """Whether two loads go to the two banks of the tightly coupled memory."""
    if not a.place or not b.place or a.place[0] != b.place[0]:
        return False
    return (a.place[1] - b.place[1]) // 4 % 2 == 1


def fed(a: Instruction, b: Instruction) -> bool:
    """Whether what `b` needs of `a` reaches it within the cycle."""
    need = a.writes & b.reads
    if not need:
        return True
    return (
        (b.kind == "branch" and need <= {FLAGS})
        or (b.kind == "store" and not need & b.address)
        or (b.kind == "mac" and need <= b.sums and a.kind == "alu")
        or (a.early and b.kind == "alu" and not b.shifted)
    )


# ---------------------------------------------------------------- one after the other


class Scoreboard:
    """When each register's value is there, and what made it."""

    def __init__(self) -> None:
        self.there: defaultdict[int, int] = defaultdict(int)
        self.made_by: defaultdict[int, str] = defaultdict(str)

    def earliest(self, o: Instruction, now: int, but: frozenset[int] = frozenset()) -> int:
        """The cycle, `now` or later, from which `o` may issue; registers of `but` come from within the cycle."""
        return max([now, *(self.wanted(o, r, now) for r in o.reads - but)])

    def wanted(self, o: Instruction, register: int, now: int) -> int:
        at, made = self.there[register], self.made_by[register]
        if register in o.sums:
            return at - (made == "mac")  # sums are passed on
        if o.kind == "branch" and register == FLAGS:
            return now
        loaded = made in ("load", "loads")
        if o.kind == "mac" and loaded:
            return at + 1
        if register in o.address:
            return at + (made in ("dsp", "mac"))
        if (o.shifted or o.kind == "dsp") and (loaded or made == "mac"):
            return at + 1
        return at - (o.kind in ("store", "stores"))  # what is stored is wanted a cycle later

    def issue(self, o: Instruction, now: int) -> None:
        for register in o.writes:
            late, made = o.cycles - 1 + o.latency, o.kind
            if register in o.moved:
                late, made = 1, "alu"
            elif register in o.order:
                late = o.order.index(register) // 2 + o.latency
            self.there[register], self.made_by[register] = now + late, made


def cycles(code: Sequence[Instruction], taken: int, indirect: int) -> int:
    """Cycles of a stretch that follows itself; `taken`, `indirect`: what is lost behind a branch that ends it."""
    board, now, ends = Scoreboard(), 0, []
    for _ in range(TURNS):
        i = 0
        while i < len(code):
            last = a = code[i]
            now = board.earliest(a, now)
            board.issue(a, now)
            i += 1
            if i < len(code) and together(a, code[i]):
                inside = frozenset(a.writes & code[i].reads)
                if board.earliest(code[i], now, inside) <= now:
                    last = code[i]
                    board.issue(last, now)
                    i += 1
            now += a.cycles
            if last.jumps:
                now += indirect if last.indirect else taken
        ends.append(now)
    return ends[-1] - ends[-2]


@cache
def decoder() -> capstone.Cs:
    out = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
    out.detail = True
    return out


def disassembled(code: bytes, address: int, instructions: int) -> list[Instruction]:
    """So many instructions of Thumb code. ValueError if there are less."""
    out = [decode(one) for one in decoder().disasm(code, address, instructions)]
    if len(out) < instructions:
        raise ValueError(f"{address:#x}: wanted {instructions} instructions, got {len(out)}")
    return out


def modelled(code: Iterable[Instruction]) -> tuple[int, int]:
    """Least and most cycles of a stretch (BRANCHES)."""
    whole = list(code)
    least, most = (cycles(whole, *branches) for branches in BRANCHES.values())
    return least, most
