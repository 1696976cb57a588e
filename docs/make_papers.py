"""Makes docs/papers.md: the paper's tables with ours beside.

    python docs/make_papers.py

What the paper says and which network stands for it is in the package (`patchnet paper`), what that needs in
figures.json (`make figures ONLY=papers`); tests/unit/test_paper.py compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from patchnet.report import paper

DOCS = Path(__file__).resolve().parent
HEAD = """\
# The paper's tables

What the main paper behind this project says (J. Lee, Y. Park, S. Lee: Designing Extremely Memory-Efficient CNNs for
On-device Vision Tasks, [arXiv 2408.03663](https://arxiv.org/abs/2408.03663)), row by row, and what the same
networks need here. Each row that is the paper's own is an experiment that comes along, and a command trains it
where its data are ([data.md](data.md), Published sets):

    patchnet paper --list
    patchnet paper table 3              # --json for programs
    patchnet train paper/imagenet-63k-t4 --chain
    patchnet train paper/vww-18k --chain --set train=vww_coco_train --set test=vww_coco_test    # with other data
    patchnet analyze paper/imagenet-63k

* The name beside a row is its experiment's: `patchnet train paper/NAME --chain` trains, quantizes, packs and tests it.
* **paper**: memory in KB of 1,000 bytes and accuracy in percent, float32/int8. Its memory is the largest input and
  output of a layer, the weights, 32-bit sums and whatever else a run writes left out.
* **here**: accuracy in percent, float32/int8, where a network was trained; `-` where it was not. ImageNet, COCO and
  the test set of VOC were not at hand.
* **eq. 2**: bytes as the paper counts them, int8, of the network here; **eq. 3**: with a channel more behind each
  inner convolution of a bottleneck.
* **arena**: bytes that a run here really takes, all of it counted ([memory.md](memory.md)), by the fastest plan,
  the one that `pack` takes, and the smallest; **cycles**: what a Cortex-M7 is modelled to take for a picture by
  these three, in millions.
* **flash**: the blob that `pack` writes, no weights being shared between tunnels.

The paper gives few layers. Where it leaves widths open they are chosen such that eq. 2 or eq. 3 gives its memory to
2%, and that the network for ImageNet has its 3.34 million weights to 10%; each file says how. Some figures tell
more than the text does: 63,375 = 130 x 130 x 3 + 65 x 65 x 3 is a stem of three channels; those of margins 10, 5
and 0 are less than such a stem takes, and fit one of two; 175,616 = 224 x 224 x 3 + 112 x 112 x 2 and 315,000 = 300
x 300 x 3 + 150 x 150 x 2 (VOC) are stems over pictures that are not cut; 111,554 and 302,624 (COCO) are 17 x 17 x
386 and 28 x 28 x 386, a bottleneck of 192 channels on a map of stride 8 by eq. 3. How the paper trained is not told
either: learning rates and epochs are ours.
"""
COLUMNS = ("", "paper KB", "paper %", "here %", "eq. 2", "eq. 3", "arena", "cycles", "MACs", "weights", "flash")


def both(values: tuple[float, ...], int8: bool = False, form: str = "g") -> str:
    told = [f"{value:{form}}" for value in values]
    return "/".join(["-"] * int8 + told + ["-"] * (2 - int8 - len(told))) if told else "-"


def needs(name: str, figures: dict[str, float]) -> list[str]:
    """What the network needs, as the figures tell."""
    own = {key: int(figures[f"paper/{name}/{key}"]) for key in ("eq2", "eq3", "macs", "weights", "flash")}
    arenas = [f"{int(figures[f'paper/{name}/{plan}/arena']):,}" for plan in paper.PLANS]
    cycles = [f"{figures[f'paper/{name}/{plan}/cycles'] / 1e6:,.0f}" for plan in paper.PLANS]
    sizes = [" / ".join(arenas), " / ".join(cycles), f"{own['macs'] / 1e6:,.1f} M"]
    return [f"{own['eq2']:,}", f"{own['eq3']:,}", *sizes, f"{own['weights']:,}", f"{own['flash']:,}"]


def lines(table: paper.Table, figures: dict[str, float]) -> Iterator[str]:
    yield f"## Table {table.number}: {table.about}"
    yield ""
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "|---" * len(COLUMNS) + "|"
    notes = []
    for row in table.rows:
        said = [both(row.kb, row.int8), both(row.accuracy, row.int8, ".2f")]
        if not row.experiment:
            yield "| " + " | ".join([row.row, *said, *[""] * (len(COLUMNS) - 3)]) + " |"
            continue
        record = paper.trained().get(row.experiment)
        here = both(record.accuracy, form=".2f") if record else "-"
        yield "| " + " | ".join([f"{row.row}: `{row.experiment}`", *said, here, *needs(row.experiment, figures)]) + " |"
        notes += [f"* {row.row}: {row.note}."] * bool(row.note)
        notes += [f"* {row.row}, here: {record.test}; {record.note}."] if record else []
    yield ""
    yield from [*notes, ""] if notes else []


def truth(figures: dict[str, float]) -> str:
    """What the tables come to."""
    packed = {n: f"{figures[f'paper/{n}/packed/arena'] / 1000:.0f} KB" for n in ("imagenet-63k", "vww-18k", "voc-224")}
    least = f"{figures['paper/voc-224/smallest/arena'] / 1000:.0f} KB"
    return (
        f"In truth, everything counted, the network of 63 KB runs in {packed['imagenet-63k']}, that of 18 KB in\n"
        f"{packed['vww-18k']}, and that of 176 KB, which is not cut, in {packed['voc-224']}, or slowly in {least}.\n"
        "What segmentation is still worth to a planner that streams, and whether the paper's directions hold on other\n"
        "pictures, is tried in [directions.md](directions.md).\n"
    )


def page(figures: dict[str, float]) -> str:
    out = [HEAD, truth(figures)]
    for table in paper.tables().values():
        out += lines(table, figures)
    return "\n".join(out).rstrip() + "\n"


if __name__ == "__main__":
    (DOCS / "papers.md").write_text(page(json.loads((DOCS / "figures.json").read_text())))
