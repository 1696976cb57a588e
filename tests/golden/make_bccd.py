"""Makes bccd.json beside this file: what the oracle finds in the pictures that come with patchnet, by the shipped
network `bccd`. `python tests/golden/make_bccd.py`, after each change of that network or of the format.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import patchnet  # noqa: E402
from oracle import RGB888, Oracle  # noqa: E402
from patchnet import data  # noqa: E402
from patchnet.models import resolve  # noqa: E402

PICTURES = Path(patchnet.__file__).parent / "pictures" / "bccd"


def found() -> dict[str, list[list[int]]]:
    """Of each picture: x, y, w, h, class, score (of 65536) of each box, at the threshold and IoU that detect() has."""
    oracle, out = Oracle(resolve("bccd").read_bytes()), {}
    for path in sorted(PICTURES.glob("*.ppm")):
        picture = data.decode(path)
        result = oracle.run_image(picture.tobytes(), picture.shape[1], picture.shape[0], RGB888)
        out[path.name] = [list(map(int, box)) for box in result.boxes]
    return out


if __name__ == "__main__":
    (HERE / "bccd.json").write_text(json.dumps(found(), indent=1).replace("\n   ", "").replace("\n  ]", "]") + "\n")
