"""`make demo`: the shipped person network classifies the shipped pictures, and the network of spoken digits one of the
shipped sounds, on the emulated Cortex-M7 and the unix port.

Prints `demo <port> <file> <label> <score>` per picture or sound and `demo <port> ram <bytes>` per port. The exit status
is 1 when the ports disagree in any score of any label.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from . import remote

HERE = Path(__file__).resolve().parent
PORTS = ("qemu", "unix")

# A score is a multiple of 1/65536: as an integer it reads the same however a port prints its floats.
ON_DEVICE = """\
import filecam, patchnet
model = patchnet.load("person.pnb")
cam = filecam.FileCam("pictures")
for _ in range(len(cam)):
    scores = patchnet.classify(cam.snapshot())
    print(cam.name, *["%s=%d" % (label, round(score * 65536)) for label, score in scores], sep="\\t")
ram = model.ram
import filemic
patchnet.load("spoken-digits.pnb")
mic = filemic.FileMic("sounds")
scores = patchnet.classify(mic.read())
print(mic.name, *["%s=%d" % (label, round(score * 65536)) for label, score in scores], sep="\\t")
print(ram)
"""
SOUND = "7_yweweler_0.wav"


def lay_out(folder: Path):
    """Put what the device needs into `folder`."""
    shutil.copy(HERE / "models" / "person.pnb", folder)
    (folder / "pictures").mkdir()
    for picture in (HERE / "pictures").glob("*.ppm"):
        shutil.copy(picture, folder / "pictures")
    shutil.copy(HERE / "models" / "spoken-digits.pnb", folder)
    (folder / "sounds").mkdir()
    shutil.copy(HERE / "sounds" / SOUND, folder / "sounds")


def run_on(port: str, folder: Path) -> list[str]:
    """Print what `port` makes of the files; returns the device's lines."""
    *lines, ram = remote.run(port, ON_DEVICE, folder).splitlines()
    for line in lines:
        picture, best, *_ = line.split("\t")
        label, score = best.rsplit("=", 1)
        print(f"demo {port} {picture} {label} {int(score) / 65536:.4f}", flush=True)
    print(f"demo {port} ram {ram}", flush=True)
    return lines


def main() -> int:
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
