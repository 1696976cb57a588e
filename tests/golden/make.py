"""Makes the golden vectors beside this file: `python tests/golden/make.py`.

Blobs and pictures come from random_case(seed); what must come out, in cases.jsonl, is the oracle's word, never the
engine's. A case is made once and then kept, whatever becomes of the generators: a blob that ran once must always run
the same. Those of a format before are converted when the next one comes, with their plans; what is made anew is HALVED,
behind all others.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from cases import Case, Picture, random_case, random_frame, random_raw  # noqa: E402

# between them: k = 1, 4, 9, 16, central patch, sum and concat, grey and colour, all pixel formats, all weights extreme,
# all modes; then detection networks
SEEDS = (
    *((14, False), (36, False), (41, False), (44, False), (66, False), (33, True), (53, True)),
    *((43, False), (91, False), (99, False), (11, True)),  # modes 5 and 6
)


DETECTORS = (3, 17, 19)

# all kinds of layers between them, in rows and in strips, each with a kernel that is the whole map, that leaves lines
# unread, is higher than wide, or has other padding on each side; shifts of wide values
OTHERS = (178, 1876, 1281, 760, 1334, 1644, 712, 1562)
ENDS = (21, 3, 6, 73, 20)  # heat maps of pictures and of raw input, raw output, pooled values with sigmoids, dense ones
KEPT = len(SEEDS) + len(DETECTORS) + len(OTHERS) + len(ENDS)

HALVED = (48, 158, 214)  # maps of 4 bits, stored and not, in rows and in strips


def picture_record(case: Case, folder: Path, name: str, picture: Picture) -> dict:
    """One frame as a file, and what the oracle makes of it."""
    (folder / name).write_bytes(picture.data)
    result = case.oracle.run_image(*picture.args())
    fields = {"file": name, "w": picture.w, "h": picture.h, "pixfmt": picture.pixfmt, "roi": picture.roi}
    out = {"logits": result.logits16.tolist(), "outputs": result.outputs8.tolist(), "scores": result.scores}
    if case.oracle.detect or case.oracle.maps:
        out = {"outputs": result.outputs8.tolist(), "boxes": [list(box) for box in result.boxes]}
    return fields | out


def raw_record(case: Case, folder: Path, name: str, x: np.ndarray) -> dict:
    (folder / name).write_bytes(x.tobytes())
    return {"file": name, "outputs": case.oracle.run_raw(x).outputs8.tolist()}


def write_case(case: Case, folder: Path, name: str) -> dict:
    """Writes a case's blob, two frames (one without a region; none where the input is no picture) and a raw input;
    returns its line of cases.jsonl."""
    rng, d = np.random.default_rng(case.seed), case.qnet.design
    (folder / f"{name}.pnb").write_bytes(case.blob)
    whole = random_frame(rng, d.height, d.width)
    whole.roi = None
    shown = (case.picture, whole) if case.picture else ()
    pictures = [picture_record(case, folder, f"{name}-{i}.raw", p) for i, p in enumerate(shown)]
    raw = raw_record(case, folder, f"{name}-x.raw", random_raw(rng, d))
    return {"blob": f"{name}.pnb", "seed": case.seed, "pictures": pictures, "raw": raw}


def read_cases(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "cases.jsonl").read_text().splitlines()]


def write_lines(entries: Sequence[dict], folder: Path) -> None:
    """A line a case: a board reads one at a time."""
    (folder / "cases.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def write_cases(cases: list[Case], folder: Path, kept: Sequence[dict] = ()) -> list[dict]:
    """Fills a folder for tests/device/scripts/golden.py, behind what is there; returns all as cases.jsonl has them."""
    entries = [*kept, *(write_case(case, folder, f"case{i}") for i, case in enumerate(cases, len(kept)))]
    write_lines(entries, folder)
    return entries


if __name__ == "__main__":
    there = read_cases(HERE)
    write_cases([random_case(seed, max_macs=20_000) for seed in HALVED], HERE, there[:KEPT])
