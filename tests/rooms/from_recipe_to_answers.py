"""The toy task through all that there is, in a process of its own: `python from_recipe_to_answers.py FOLDER` with the
tree that has its room on PYTHONPATH. Whatever is not so is an AssertionError; the last line tells which rooms were
loaded, and which other packages that take long.

The network is one 1x1 convolution that changes nothing, over four patches that are the picture together.
"""

import json
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np

from patchnet.blob import qnet_file, vector
from patchnet.blob.files import pack_file
from patchnet.blob.pack import pack
from patchnet.blob.quantized import QConv, QNet, Scaled
from patchnet.blob.random import random_qnet
from patchnet.blob.unpack import blob_network, blob_plan, blob_qnet, read, record_of
from patchnet.engine.model import Model
from patchnet.evaluate import val
from patchnet.evaluate.engines import room_of
from patchnet.net.network import Network
from patchnet.net.toml import from_dict, read_design, recipe_from_dict, recipe_to_dict, to_dict
from patchnet.plan.choice import front, smallest
from patchnet.plan.place import place
from patchnet.report.analyze import analyze_network, blob_bytes
from patchnet.tasks.answers import pnm
from patchnet.tasks.pictures import prepare

TOML = """
name = "mean"
labels = ["red", "green", "blue"]
height = 20
width = 28
central = false
stem_out = 3
stem_kernel = 1
stem_stride = 1
act = "none"

[colour]
"""


def designed(folder: Path) -> Network:
    """The network of the recipe; it survives as plain values, and so does the recipe."""
    (folder / "mean.toml").write_text(TOML)
    network = read_design(folder / "mean.toml")
    assert network.task == "colour" and from_dict(to_dict(network)) == network
    values = {"name": "mean", "labels": ["red"], "height": 8, "width": 8, "stem_out": 1, "colour": {}}
    recipe = recipe_from_dict(values)
    assert recipe_from_dict(recipe_to_dict(recipe)) == recipe and recipe.network().task == "colour"
    for wrong, said in (({"colour": {"hue": 1}}, "unknown key 'hue'"), ({"stem_out": 2}, "wanted 1 channels")):
        try:
            recipe_from_dict(values | wrong).network()
        except ValueError as e:
            assert said in str(e), e
        else:
            raise AssertionError(f"{wrong} is taken")
    return network


def unchanged(network: Network) -> QNet:
    """Integers by which each value becomes itself: 64 * q * 2^8 * 2^26 / 2^32 = 256 * q."""
    weight = 64 * np.eye(3, dtype=np.int8).reshape(3, 1, 1, 3)
    conv = Scaled(weight, np.zeros(3, np.int32), np.full(3, 1 << 26, np.int32))
    tunnel = (QConv(network.chain[0], conv, 8, 0),)
    end = record_of(network.task).random(np.random.default_rng(0), network)
    return QNet(network, (0, 0, 0), (tunnel,) * network.tunnels, end)


def mean_colour(pixels: np.ndarray) -> tuple[int, ...]:
    """Of (H, W, 3), the half up."""
    n = pixels.shape[0] * pixels.shape[1]
    return tuple(int(Fraction(int(s), n) + Fraction(1, 2)) for s in pixels.astype(np.int64).sum((0, 1)))


def pictures(network: Network) -> list[np.ndarray]:
    """Plain colours; means of n + 1/2, and just below that; noise, also of another size, which is resized."""
    rng, shape = np.random.default_rng(1), (network.height, network.width, 3)
    plain = [np.full(shape, colour, np.uint8) for colour in ((0, 0, 0), (255, 255, 255), (0, 127, 128), (1, 254, 77))]
    half = np.full(shape, (0, 127, 254), np.uint8)
    half[::2] += 1
    below = half.copy()
    below[0, 0] -= 1
    return [*plain, half, below, *(rng.integers(0, 256, size, np.uint8) for size in (shape, (33, 47, 3)))]


def check_model(model: Model, network: Network) -> None:
    assert (model.task, model.labels) == ("colour", network.labels)
    for picture in pictures(network):
        colour = tuple(round((q - model.output_zero_point) * model.output_scale) for q in model.predict(picture))
        assert colour == mean_colour(prepare(picture, network)), (colour, picture.shape)
    assert [name for name, _, _ in model.profile(picture)][0] == "layer 0"
    for ask in (model.classify, model.detect, model.spot):
        try:
            ask(picture)
        except ValueError as e:
            assert str(e) == f"model is for colour, not for {ask.__name__}"
        else:
            raise AssertionError(f"{ask.__name__} gives something")


def check_blobs(qnet: QNet, folder: Path) -> None:
    """Whatever the plan: the blob read back is the network, and gives the mean colour, from memory and from a file."""
    network = qnet.design
    plans = [place(network, point.schedule) for point in front(network)]
    assert plans[0] == smallest(network)
    for plan in plans:
        blob = pack(qnet, plan)
        info, again = read(blob), blob_qnet(blob, network.name)
        assert blob_plan(info) == plan and blob_network(info, network.name) == again.design
        assert to_dict(again.design)["end"] == to_dict(network)["end"] and again.end == qnet.end
        assert pack(again, plan) == blob and len(blob) < blob_bytes(network, plan)  # tunnels share their weights
        check_model(Model(blob), network)
        (folder / "planned.pnb").write_bytes(blob)
        least, most = Model(str(folder / "planned.pnb"), stream=True).stream_sizes
        for room in (least, most):
            with Model(str(folder / "planned.pnb"), stream=room) as streamed:
                check_model(streamed, network)
        assert analyze_network(network, plan, blob=blob).task == "colour"


def check_files(qnet: QNet, folder: Path) -> None:
    """The stages of the command line: a qnet.npz, a blob with its test vector, what engines say of files."""
    qnet_file.save(qnet, folder / "qnet.npz")
    packed = pack_file(folder / "qnet.npz")
    assert vector.load(packed.path).kind == "picture"
    shown = pictures(qnet.design)
    files = [folder / f"{i}.ppm" for i in range(len(shown))]
    for file, picture in zip(files, shown, strict=True):
        file.write_bytes(pnm(picture))
    answers, room = val.predict(packed.path, files), room_of(qnet.design)
    assert answers.rows == [mean_colour(prepare(picture, qnet.design)) for picture in shown]
    assert answers.ram == packed.ram and room.same(answers, val.predict(packed.path, files))
    assert room.from_words([str(n) for n in answers.rows[0]]) == answers.rows[0]
    assert room.lines(room.told(answers, 3, 1), "3.ppm") == ["3.ppm: red 1, green 254, blue 77"]


def main(folder: Path) -> None:
    network = designed(folder)
    check_blobs(unchanged(network), folder)
    check_files(unchanged(network), folder)
    Model(pack(random_qnet(network)))
    rooms = {name.split(".")[2] for name in sys.modules if name.startswith("patchnet.tasks.")}
    slow = {"torch", "matplotlib"} & set(sys.modules)
    print(json.dumps({"package": str(Path(sys.modules["patchnet"].__file__).parent), "rooms": sorted(rooms),
                      "slow": sorted(slow)}))  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
