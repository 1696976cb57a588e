"""Coverage-guided attempts on the engine: `python tests/guided.py --seconds 600`; needs clang, llvm and libclang-rt.

csrc/fuzz.c under ASan and UBSan in the checking build, from random networks of all kinds on. What was found to reach
more of the engine is kept in build/fuzz, for each format of blobs, from where the next call goes on. Prints how often
the engine was tried, and how much of blob, plan, tasks and streaming all of the corpus reaches. An input that fails is
left in build/fuzz; `python tests/guided.py --again FILE` tries it alone.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np

from cengine import BUILD, ENGINE, compile_engine
from fuzz import KINDS, blob_of, made
from patchnet import format as fmt

ROOM = BUILD.parent / "fuzz"
CORPUS = ROOM / f"format{fmt.VERSION}"  # blobs of another one end with their version
MOST = 8192  # bytes of an input
TOOLS = "clang", "llvm-profdata", "llvm-cov"
# What stands between a blob and memory. Kernels get numbers that were checked, and have tests of their own.
COVERED = "blob", "plan", "tasks", "run/pn_parts.c", "pn_open.c", "pn_run.c"


def missing() -> str:
    """What is not there of what this needs."""
    absent = [tool for tool in TOOLS if not shutil.which(tool)]
    return f"needs {', '.join(absent)}: ports/install-tools fuzz" if absent else ""


def fields_header() -> str:
    """fields.h: where each field of each record lies and its bytes; those of several numbers are left out."""
    lines = ["typedef struct {", "    unsigned char at, bytes;", "} field_t;"]
    for table in fmt.TABLES:
        at = table.offsets()
        sizes = [(at[name], struct.calcsize("<" + code)) for name, code in table.fields if len(code) == 1]
        lines.append(f"static const field_t {table.name.upper()}_fields[] = {{")
        lines += [f"    {{ {place}, {size} }}," for place, size in sizes] + ["};"]
    return "\n".join([*lines, ""])


def build(flags: list[str]) -> Path:
    BUILD.mkdir(parents=True, exist_ok=True)
    part = BUILD / f"fields.{os.getpid()}"
    part.write_text(fields_header())
    part.replace(BUILD / "fields.h")
    return compile_engine("fuzz", [*flags, f"-I{BUILD}", "-Wno-unused-const-variable"], "clang")


def fuzzer() -> Path:
    """Without a look at what is compared with what, which takes two thirds of the time: the mutator has fields."""
    coverage = ["-fsanitize=fuzzer", "-fno-sanitize-coverage=trace-cmp"]
    return build(["-O2", "-g", *coverage, "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DPN_SHADOW"])


def write_seeds(corpus: Path, networks: int) -> None:
    """Random networks of each kind, by plans of their own and random ones, small enough that thousands run a second."""
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in range(networks):
        kind = KINDS[seed % len(KINDS)]
        path = corpus / f"{kind}-{seed}.pnb"
        if not path.exists():
            case = made(kind, seed, False, 4000)
            blob = blob_of(case, np.random.default_rng(seed), seed % 2)
            if len(blob) <= MOST:
                path.write_bytes(blob)


def attempts(seconds: int, jobs: int, corpus: Path, seed: int = 0) -> int:
    """Tries for so long, in so many processes, and tells how often. SystemExit where one has found something."""
    options = ["-print_final_stats=1", f"-max_len={MOST}", "-timeout=60", "-rss_limit_mb=1024", "-reload=10"]
    options += [f"-max_total_time={seconds}", f"-artifact_prefix={corpus.parent}/", "-len_control=0", "-entropic=0"]
    # no stack is kept for each block, and freed ones are soon used again: --again tells more of what was found
    environment = os.environ | {"ASAN_OPTIONS": "malloc_context_size=0:quarantine_size_mb=8"}
    logs = [corpus.parent / f"fuzz-{job}.log" for job in range(jobs)]
    running = []
    for job, log in enumerate(logs):
        with log.open("w") as f:
            command = [fuzzer(), *options, f"-seed={seed * jobs + job + 1 if seed else 0}", corpus]
            running.append(subprocess.Popen(command, stdout=f, stderr=subprocess.STDOUT, env=environment))
    bad = [log for process, log in zip(running, logs, strict=True) if process.wait()]
    if bad:
        raise SystemExit("\n".join(line[:300] for line in bad[0].read_text(errors="replace").splitlines()[-60:]))
    return sum(int(re.findall(r"number_of_executed_units: (\d+)", log.read_text(errors="replace"))[-1]) for log in logs)


def coverage(corpus: Path) -> list[tuple[str, float, float]]:
    """(file, percent of lines, percent of branches) that the corpus reaches; last the sum of all."""
    program = build(["-O1", "-g", "-fsanitize=fuzzer", "-fprofile-instr-generate", "-fcoverage-mapping"])
    raw, merged = corpus.parent / "raw.prof", corpus.parent / "fuzz.prof"
    environment = os.environ | {"LLVM_PROFILE_FILE": str(raw)}
    subprocess.run([program, "-runs=0", f"-max_len={MOST}", corpus], env=environment, capture_output=True, check=True)
    subprocess.run(["llvm-profdata", "merge", "-o", merged, raw], check=True)
    command = ["llvm-cov", "export", "-summary-only", f"-instr-profile={merged}", program]
    files = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["data"][0]["files"]
    rows, sums = [], {"lines": [0, 0], "branches": [0, 0]}
    for file in files:
        name = os.path.relpath(file["filename"], ENGINE / "engine")
        if name.startswith(COVERED) and not name.endswith("pn_format.h"):
            for what, (count, covered) in sums.items():
                sums[what] = [count + file["summary"][what]["count"], covered + file["summary"][what]["covered"]]
            rows.append((name, *(file["summary"][what]["percent"] for what in sums)))
    return [*sorted(rows), ("all", *(100 * covered / count for count, covered in sums.values()))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--networks", type=int, default=400, help="to begin with")
    parser.add_argument("--again", type=Path, metavar="FILE")
    args = parser.parse_args()
    if missing():
        raise SystemExit(missing())
    if args.again:
        raise SystemExit(subprocess.run([fuzzer(), args.again], check=False).returncode)
    write_seeds(CORPUS, args.networks)
    n = attempts(args.seconds, args.jobs, CORPUS) if args.seconds else 0
    print(f"{n} attempts in {args.seconds} s, {len(list(CORPUS.iterdir()))} kept; reached of")
    for name, lines, branches in coverage(CORPUS):
        print(f"  {name:24} {lines:5.1f}% of lines {branches:5.1f}% of branches")


if __name__ == "__main__":
    main()
