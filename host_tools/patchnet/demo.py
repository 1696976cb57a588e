"""`make demo`: the shipped networks look at the shipped pictures, and hear a sound, on the emulated Cortex-M7 and the
unix port.

Prints `demo <port> <file> <label> <score>` per picture or sound, with ` <x> <y> <w> <h>` behind it for each box of a
network that detects (label - and score 0 if it found none), and `demo <port> ram <bytes> <network>` per network. The
exit status is 1 when the ports disagree in any number, 2 when one was not built.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from .board import remote

HERE = Path(__file__).resolve().parent
PORTS = ("qemu", "unix")
# The networks, where they are shipped, and their pictures: those of one with a name of its own belong to it alone.
PICTURES = {
    "person": ("person-*.ppm", "no_person-*.ppm"),
    "bccd": ("bccd/*.ppm",),
    "spoken-digits": ("7_yweweler_0.wav",),
}

# A score is a multiple of 1/65536: as an integer it reads the same however a port prints its floats.
ON_DEVICE = """\
import os, filecam, filemic, patchnet
for name in sorted(file[:-4] for file in os.listdir() if file[-4:] == ".pnb"):
    model = patchnet.load(name + ".pnb")
    cam = filemic.FileMic(name, rate=model.sample_rate) if model.task == "audio" else filecam.FileCam(name)
    for _ in range(len(cam)):
        img = cam.read() if model.task == "audio" else cam.snapshot()
        if model.task in ("detect", "heatmap"):
            found = [(label, score, x, y, w, h) for x, y, w, h, label, score in patchnet.detect(img)]
        else:
            found = patchnet.classify(img)
        for label, score, *box in found or [("-", 0)]:
            print("picture", cam.name, label, round(score * 65536), *box, sep="\\t")
    print("ram", model.ram, name, sep="\\t")
"""


def folder_of(pattern: str) -> str:
    return "sounds" if pattern.endswith(".wav") else "pictures"


def lay_out(folder: Path):
    """Put what the device needs into `folder`: NETWORK.pnb, and a folder NETWORK with its pictures or sounds."""
    for name, patterns in PICTURES.items():
        model = HERE / "models" / f"{name}.pnb"
        pictures = [path for pattern in patterns for path in (HERE / folder_of(pattern)).glob(pattern)]
        if not model.exists() or not pictures:
            continue
        shutil.copy(model, folder)
        (folder / name).mkdir()
        for picture in pictures:
            shutil.copy(picture, folder / name)


def run_on(port: str, folder: Path) -> list[str]:
    """Print what `port` makes of the pictures; returns the device's lines."""
    lines, before = remote.run(port, ON_DEVICE, folder).splitlines(), None
    for line in lines:
        kind, *rest = line.split("\t")
        if kind == "ram":
            print(f"demo {port} ram {' '.join(rest)}", flush=True)
            continue
        picture, label, score, *box = rest
        if box or picture != before:  # of classes the best one alone
            print(f"demo {port} {picture} {label}", *(f"{int(score) / 65536:.4f}", *box), flush=True)
        before = picture
    return lines


def main() -> int:
    try:
        remote.check_built(remote.FIRMWARE, "qemu")
        remote.check_built(remote.UNIX, "unix")
    except FileNotFoundError as e:
        print(f"demo: {e}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="patchnet-demo-") as name:
        lay_out(Path(name))
        results = {port: run_on(port, Path(name)) for port in PORTS}
    first, *others = results.values()
    if any(lines != first for lines in others):
        print(f"the ports disagree: {results}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
