"""Networks of other people, if they lie beside the checkout: the layers that they become, or what is in the way."""

from collections import Counter

import pytest

pytest.importorskip("tflite")

from patchnet.importers.exact import exact
from patchnet.importers.graph import Unsupported
from patchnet.importers.match import match
from patchnet.importers.tflite import read
from tflites import real_file

# kinds of layers, the task, and what of pooling and fully connected layer ends it
FILES = {
    "coral__tf2_mobilenet_v2_1.0_224_ptq": ("conv 2, bottleneck 17", "classify", "pool dense"),
    "ei-Edge-Impulse-Image-Class__trained": ("conv 2, bottleneck 13, meanpool 1", "classify", "dense"),
    "ei-IQUPA__trained": ("conv 4, bottleneck 6", "heatmap", ""),
    "ei-rubbish-tflite__trained": ("conv 4, bottleneck 17", "classify", ""),
    "ei-tire-classifier__trained": ("conv 4, bottleneck 17", "classify", ""),
    "mlperf__ad01_int8": ("conv 10", "raw", ""),
    "mlperf__kws_ref_model": ("conv 1, bottleneck 4", "classify", "pool dense"),
    "mlperf__pretrainedResnet_quant": ("conv 1, block 3", "classify", "pool dense"),
    "mlperf__str_ww_ref_model": ("conv 1, bottleneck 3", "classify", "dense"),
    "mlperf__vww_96_int8": ("conv 1, bottleneck 13", "classify", "pool dense"),
    "openmv__fomo_face_detection": ("conv 4, bottleneck 6", "heatmap", ""),
    "openmv__micro_speech": ("conv 2", "classify", ""),
    "openmv__person_detect": ("conv 1, bottleneck 13", "classify", "pool dense"),
    "openmv__yolo_lc_192": ("conv 5, bottleneck 4, maxpool 1", "raw", ""),
    "st__cifar10__resnet_v1_8_32_int8": ("conv 1, block 3", "classify", "pool dense"),
    "st__emnist_byclass__stmnist_v1_int8": ("conv 2, bottleneck 2", "classify", "pool dense"),
    "st__esc_10__yamnet_256_64x96_int8": ("conv 1, bottleneck 5", "classify", "pool dense"),
    "st__flowers__fdmobilenet_0.25_128_int8": ("conv 1, bottleneck 11", "classify", "pool dense"),
    "st__flowers__mobilenet_v1_0.25_96_int8": ("conv 1, bottleneck 13", "classify", "pool dense"),
    "st__flowers__mobilenet_v2_0.35_128_int8": ("conv 2, bottleneck 17", "classify", "pool dense"),
    "st__person__mobilenet_v2_0.35_128_int8": ("conv 2, bottleneck 17", "classify", "pool dense"),
    "tinyengine__vww": ("conv 1, bottleneck 15", "classify", "pool dense"),
}
REFUSED = {
    "coral__mobilenet_v1_0.25_128_quant": [
        "op 0 CONV_2D: weights are uint8 with zero point 157: use --calibrate DATA (and 14 more like it)",
        "op 1 DEPTHWISE_CONV_2D: weights are uint8 with zero point 204: use --calibrate DATA (and 12 more like it)",
    ],
    "openmv__blazeface_front_128": [
        "outputs: wanted one, got 4: StatefulPartitionedCall:2 512x16, StatefulPartitionedCall:0 512x1, "
        "StatefulPartitionedCall:1 384x1, StatefulPartitionedCall:3 384x16",
        "op 7 PAD (64x64x28): not supported: of 0 and 4 channels (and 10 more like it)",
    ],
    "st__esc10__miniresnet_1stacks_64x50_int8": [
        "op 6 CONV_2D (16x13x64): relu before the sum of op 7 ADD: not supported",
        "op 10 CONV_2D (8x7x64): relu before the sum of op 11 ADD: not supported",
    ],
    "tinyengine__detection": [
        "outputs: wanted one, got 3: 1806 4x5x18, 1807 8x10x18, 1808 16x20x18",
        "op 37 RESIZE_NEAREST_NEIGHBOR (8x10x32): not supported",
        "op 44 RESIZE_NEAREST_NEIGHBOR (16x20x16): not supported",
    ],
}


@pytest.mark.parametrize("name", FILES)
def test_layers_and_end(name):
    matched = match(read(real_file(f"{name}.tflite")))
    kinds = Counter(step.kind for step in matched.steps)
    end = matched.ending
    parts = [part for part, there in (("pool", end.pool), ("dense", end.dense)) if there]
    assert (", ".join(f"{kind} {n}" for kind, n in kinds.items()), end.task, " ".join(parts)) == FILES[name]
    assert exact(matched).qnet is not None


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_in_the_way(name):
    with pytest.raises(Unsupported) as e:
        match(read(real_file(f"{name}.tflite")))
    assert e.value.lines[: len(REFUSED[name])] == REFUSED[name]


def test_weights_around_any_zero_point_can_be_calibrated():
    matched = match(read(real_file("coral__mobilenet_v1_0.25_128_quant.tflite")), calibrate=True)
    assert [step.kind for step in matched.steps] == ["conv", *["bottleneck"] * 13]
