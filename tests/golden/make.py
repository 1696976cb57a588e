"""Makes the golden vectors beside this file: `python tests/golden/make.py`.

Blobs and pictures come from random_case(seed); what must come out, in cases.json, is the oracle's word, never the
engine's. One is made anew only when the format no longer has what it uses: a blob that ran once must always run the
same.
"""

import json
import sys
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


def picture_record(case: Case, folder: Path, name: str, picture: Picture) -> dict:
    """One frame as a file, and what the oracle makes of it."""
    (folder / name).write_bytes(picture.data)
    result = case.oracle.run_image(*picture.args())
    fields = {"file": name, "w": picture.w, "h": picture.h, "pixfmt": picture.pixfmt, "roi": picture.roi}
    out = {"logits": result.logits16.tolist(), "outputs": result.outputs8.tolist(), "scores": result.scores}
    if case.oracle.detect:
        out = {"outputs": result.outputs8.tolist(), "boxes": [list(box) for box in result.boxes]}
    return fields | out


def raw_record(case: Case, folder: Path, name: str, x: np.ndarray) -> dict:
    (folder / name).write_bytes(x.tobytes())
    return {"file": name, "outputs": case.oracle.run_raw(x).outputs8.tolist()}


def write_case(case: Case, folder: Path, name: str) -> dict:
    """Writes a case's blob, two frames (one without a region) and a raw input; returns its entry of cases.json."""
    rng, d = np.random.default_rng(case.seed), case.qnet.design
    (folder / f"{name}.pnb").write_bytes(case.blob)
    whole = random_frame(rng, d.height, d.width)
    whole.roi = None
    pictures = [picture_record(case, folder, f"{name}-{i}.raw", p) for i, p in enumerate((case.picture, whole))]
    raw = raw_record(case, folder, f"{name}-x.raw", random_raw(rng, d))
    return {"blob": f"{name}.pnb", "seed": case.seed, "pictures": pictures, "raw": raw}


def write_cases(cases: list[Case], folder: Path) -> list[dict]:
    """Fills a folder for tests/device/scripts/golden.py; returns the cases as cases.json has them."""
    entries = [write_case(case, folder, f"case{i}") for i, case in enumerate(cases)]
    (folder / "cases.json").write_text(json.dumps(entries, indent=1) + "\n")
    return entries


if __name__ == "__main__":
    detectors = [random_case(seed, max_macs=60_000, detects=True) for seed in DETECTORS]
    write_cases([*(random_case(seed, extreme, max_macs=60_000) for seed, extreme in SEEDS), *detectors], HERE)
