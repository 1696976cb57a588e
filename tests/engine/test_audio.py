"""Sound on the PC: the front-end against its oracle and numpy's FFT, clips, streams, what the loader refuses."""

from __future__ import annotations

import struct
import subprocess
from array import array
from dataclasses import replace

import numpy as np
import pytest

import patchnet
from cengine import Engine, EngineError, sanitized
from networks import random_qnet
from oracle.audio import AudioOracle
from patchnet import Image, Model
from patchnet import format as fmt
from patchnet.blob.order import fast_layers
from patchnet.blob.pack import pack, seal
from patchnet.blob.unpack import blob_network, blob_plan, blob_qnet, read
from patchnet.data import sounds as sounds_
from patchnet.net.recipe import PatchTunnels, patch_tunnels
from patchnet.net.toml import from_dict, recipe_to_dict, to_dict
from patchnet.plan.choice import front, plan
from patchnet.report import analyze
from patchnet.tasks.classify.end import Pooled
from patchnet.tasks.sound import front as front_end
from patchnet.tasks.sound.end import Audio, Heard, samples
from sounds import LABELS, extreme_sounds, random_audio, random_blob, random_sound, tiny

TINY = pack(random_qnet(np.random.default_rng(0), tiny()))
SEEDS = range(14)


def case(seed: int) -> tuple[np.random.Generator, bytes]:
    rng = np.random.default_rng([7, seed])
    return rng, random_blob(rng, k=int(rng.choice([1, 1, 4])))


def chunks(rng, pcm: np.ndarray, most: int) -> list[np.ndarray]:
    """The sound cut into pieces of 0..most samples."""
    cuts = [0]
    while cuts[-1] < len(pcm):
        cuts.append(cuts[-1] + int(rng.integers(0, most + 1)))
    return [pcm[a:b] for a, b in zip(cuts[:-1], cuts[1:], strict=True)]


def with_record(blob: bytes, **values) -> bytes:
    """The blob with other values in its audio record."""
    out, at = bytearray(blob), fmt.HEADER.unpack(blob)["task_off"]
    for name, value in values.items():
        struct.pack_into("<" + dict(fmt.AUDIO.fields)[name], out, at + fmt.AUDIO.offsets()[name], value)
    return seal(out)


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_are_the_oracles(seed):
    """A clip's rows, and what the network says of them, over all FFT sizes, rates and lengths of clips."""
    rng, blob = case(seed)
    oracle, model = AudioOracle(blob), Model(blob)
    for n in (oracle.samples, int(rng.integers(0, oracle.samples)), oracle.samples + int(rng.integers(1, 999))):
        pcm = random_sound(rng, n)
        wanted = oracle.run_clip(pcm)
        assert bytes(model.predict(array("h", pcm.tobytes()))) == wanted.outputs8.tobytes()
        best = model.classify(pcm)
        assert [round(score * 65536) for _, score in best] == [wanted.scores[LABELS.index(name)] for name, _ in best]
        assert bytes(model.predict(wanted.input_q.tobytes())) == wanted.outputs8.tobytes()


@pytest.mark.parametrize("fft", [1 << n for n in range(5, 12)])
def test_spectrogram_is_the_oracles(fft):
    """What trains a network are the rows that the engine makes on a device."""
    rng = np.random.default_rng(fft)
    audio = replace(random_audio(rng), fft=fft, frame=fft, hop=fft // 2)
    network = patch_tunnels("x", LABELS, 5, 9, 1, k=1, central=False, stem_out=3, end=audio)
    oracle = AudioOracle(pack(random_qnet(rng, network)))
    for pcm in (random_sound(rng, 3 * fft), *extreme_sounds(rng, fft)):
        rows = front_end.spectrogram(pcm, network).astype(int) - 128
        np.testing.assert_array_equal(rows, oracle.rows(pcm))


@pytest.mark.parametrize("fft", [32, 256, 2048])
def test_spectrum_is_numpys(fft):
    """The integer FFT (that of the engine, as other tests show) is the real one, within 2^-12 of its largest value."""
    rng = np.random.default_rng(fft)
    network = replace(tiny(), end=Heard("sum", audio=Audio(8000, fft, fft, fft)))
    oracle = AudioOracle(pack(random_qnet(rng, network)))
    for pcm in (random_sound(rng, fft), *extreme_sounds(rng, fft)):
        v = pcm.astype(float) * oracle.window / fft
        wanted = np.abs(np.fft.rfft(v))[:-1]
        got = np.sqrt(np.array(oracle.powers(pcm), float) * 65536)
        assert np.abs(got - wanted).max() < wanted.max() / 4096 + 512  # powers lose 16 bits: 2^8 of a value


def test_largest_samples_stay_in_range_with_the_longest_twiddles():
    """The oracle asserts that nothing leaves 32 bits, the tables being at the edge of what the loader takes."""
    rng = np.random.default_rng(1)
    network = replace(tiny(), end=Heard("sum", audio=Audio(8000, 256, 256, 256)))
    blob = bytearray(pack(random_qnet(rng, network)))
    record = read(bytes(blob)).record
    angles = 2 * np.pi * np.arange(128) / 256
    edge = np.sqrt((1 << 30) + (1 << 16)) - 1
    pairs = np.stack([np.cos(angles), -np.sin(angles)], 1) * edge
    blob[record["twiddle_off"] :][:512] = b""
    blob[record["twiddle_off"] : record["twiddle_off"] + 512] = pairs.clip(-32767, 32767).astype("<i2").tobytes()
    window = record["window_off"]
    blob[window : window + 512] = np.full(256, -32768, "<i2").tobytes()
    blob = seal(blob)
    oracle, model = AudioOracle(blob), Model(blob)
    for pcm in extreme_sounds(rng, oracle.samples):
        assert bytes(model.predict(array("h", pcm.tobytes()))) == oracle.run_clip(pcm).outputs8.tobytes()


def test_logarithm_is_one():
    """Within its last bit, for sums of all sizes."""
    oracle = AudioOracle(TINY)
    assert oracle.log(0) == oracle.log(1) == 0 and oracle.log(2**64 - 1) == 64 * 256 - 1
    for n in np.random.default_rng(0).integers(2, 1 << 62, 500).tolist() + [2**i for i in range(63)]:
        assert abs(oracle.log(n) - 256 * np.log2(float(n))) <= 1


def test_level_of_a_sine():
    """A full one gives the top, one at the floor's level the floor."""
    network = patch_tunnels("x", LABELS, 8, 32, 1, end=Audio(16000, 512, 256, 512, floor=-80, top=0))
    t = np.arange(samples(network))
    for decibel, wanted in ((0, 255), (-40, 127), (-79, 3)):
        pcm = (32767 * 10 ** (decibel / 20) * np.sin(2 * np.pi * t * 1000 / 16000)).round().astype(np.int16)
        assert abs(int(front_end.spectrogram(pcm, network).max()) - wanted) <= 6


# ---------------------------------------------------------------- clips


def test_clips_are_fitted():
    oracle, network = AudioOracle(TINY), tiny()
    for n in (0, 1, oracle.samples - 1, oracle.samples, oracle.samples + 1, 3 * oracle.samples):
        pcm = random_sound(np.random.default_rng(n), n)
        fitted = sounds_.fit(pcm, samples(network))
        assert fitted.tolist() == oracle.fitted(pcm)
        assert Model(TINY).classify(pcm) == Model(TINY).classify(fitted)


def test_bytes_are_samples():
    pcm = random_sound(np.random.default_rng(3), 74)
    wanted = Model(TINY).classify(pcm)
    for buffer in (pcm.tobytes(), bytearray(pcm.tobytes()), memoryview(pcm.tobytes()), array("h", pcm.tobytes())):
        assert Model(TINY).classify(buffer) == wanted


def test_other_rates():
    """A sine keeps its frequency and length at another rate."""
    t = np.arange(8000)
    clip = sounds_.Clip((10000 * np.sin(2 * np.pi * 440 * t / 16000)).astype(np.int16), 16000)
    half = sounds_.at_rate(clip, 8000)
    assert len(half) == 4000 and np.abs(np.fft.rfft(half)).argmax() == 220
    np.testing.assert_allclose(half[100:-100], clip.pcm[200:-200:2], atol=40)
    assert sounds_.at_rate(clip, 16000) is clip.pcm


# ---------------------------------------------------------------- streams


@pytest.mark.parametrize("seed", SEEDS)
def test_chunks_of_any_length_give_the_oracles_answers(seed):
    rng, blob = case(seed)
    oracle = AudioOracle(blob)
    a = oracle.a
    pcm = random_sound(rng, a.frame + a.hop * int(rng.integers(4, 30)))
    threshold = int(rng.integers(15000, 30000))
    wanted = oracle.spot(pcm, threshold=threshold)
    for most in (1, a.hop * a.every, a.hop * max(a.every, a.pause)):
        heard = pcm[: max(a.frame + a.hop, 40)] if most == 1 else pcm
        model = Model(blob)
        got = [model.spot(chunk, threshold=threshold / 65536) for chunk in chunks(rng, heard, most)]
        got = [(LABELS.index(name), round(score * 65536)) for name, score in filter(None, got)]
        told = [(c, s) for row, c, s in wanted if a.frame + (row - 1) * a.hop <= len(heard)]
        if most > a.hop * a.every:  # perhaps more than one answer in a chunk: the last one is told
            assert set(got) <= set(told)
        else:
            assert got == told


def test_some_stream_answers():
    """The streams of the test above are not all silent."""
    found = []
    for seed in SEEDS:
        rng, blob = case(seed)
        oracle = AudioOracle(blob)
        found.append(oracle.spot(random_sound(rng, oracle.a.frame + 30 * oracle.a.hop), threshold=20000))
    assert sum(map(len, found)) > 20 and sum(map(bool, found)) > 6


def test_one_long_chunk_is_many_short_ones():
    rng = np.random.default_rng(5)
    pcm = random_sound(rng, 24 + 10 * 20)
    settings = dict(threshold=0.2, pause=1.0, background="")  # one answer at most
    whole = Model(TINY).spot(pcm, **settings)
    model = Model(TINY)
    parts = [answer for chunk in chunks(rng, pcm, 13) if (answer := model.spot(chunk, **settings))]
    assert whole is not None and parts == [whole]


def test_samples_left_over_are_kept():
    """The row comes with its last sample, not before; a run with the second row."""
    model, pcm = Model(TINY), random_sound(np.random.default_rng(2), 34)
    settings = dict(threshold=0, background="", smooth=1)
    assert model.spot(pcm[:33], **settings) is None
    assert model.spot(pcm[33:], **settings) is not None


def test_pause_and_every():
    oracle, pcm = AudioOracle(TINY), random_sound(np.random.default_rng(4), 24 + 10 * 60)
    for every, pause in ((1, 0), (1, 5), (3, 4), (4, 11)):
        wanted = oracle.spot(pcm, threshold=0, every=every, pause=pause, background=65535)
        rows = [row for row, _, _ in wanted]
        assert set(np.diff(rows)) <= {max(every, -(-pause // every) * every)} and rows[0] == every
        model, got = Model(TINY), []
        for i in range(0, len(pcm), 5):
            answer = model.spot(pcm[i : i + 5], 0, pause * 10 / 8000, None, every, "")
            got += [(LABELS.index(answer[0]), round(answer[1] * 65536))] if answer else []
        assert got == [(c, s) for _, c, s in wanted]


def test_background_is_never_answered():
    pcm = random_sound(np.random.default_rng(6), 24 + 10 * 30)
    settings = dict(threshold=0, pause=0, every=1, smooth=1)

    def labels(background: str) -> set[str]:
        model = Model(TINY)
        answers = [model.spot(pcm[i : i + 10], background=background, **settings) for i in range(0, len(pcm), 10)]
        return {answer[0] for answer in answers if answer}

    heard = labels("")
    assert heard
    for name in heard:
        assert name not in labels(name)


def test_classify_ends_a_stream_and_predict_does_not():
    rng = np.random.default_rng(8)
    pcm, settings = random_sound(rng, 400), dict(threshold=0, every=1, smooth=0.3, pause=0, background="")
    model = Model(TINY)
    wanted = [model.spot(pcm[i : i + 7], **settings) for i in range(0, 400, 7)]
    model = Model(TINY)
    got = []
    for i in range(0, 400, 7):
        got.append(model.spot(pcm[i : i + 7], **settings))
        model.predict(bytes(24))
    assert got == wanted
    model.classify(pcm)
    assert [model.spot(pcm[i : i + 7], **settings) for i in range(0, 400, 7)] == wanted


def test_default_model():
    patchnet.load(TINY)
    pcm = random_sound(np.random.default_rng(2), 64)
    assert patchnet.spot(pcm, threshold=0, background="") == Model(TINY).spot(pcm, threshold=0, background="")
    assert patchnet.spot(b"") is None


# ---------------------------------------------------------------- facts and errors


def test_facts():
    m = Model(TINY)
    assert (m.task, m.sample_rate, m.clip_samples) == ("audio", 8000, 74)
    assert m.input_shape == (6, 4, 1) and m.labels == LABELS and repr(m).startswith("<Model audio 6 x 4 x 1 -> 3")
    assert [row[:2] for row in m.profile(array("h", bytes(148)))][0] == ("audio", "spectrogram")
    assert [row[0] for row in m.profile(bytes(24))] == ["layer 0", "layer 1", "head"]


def test_picture_models_do_not_hear():
    m = Model("digits")
    with pytest.raises(ValueError, match="model is for classify, not for spot"):
        m.spot(b"")
    with pytest.raises(AttributeError):
        m.sample_rate  # noqa: B018


@pytest.mark.parametrize("call, kind, text", [
    (lambda m: m.classify(Image(1, 1, 0x08020001, b"x")), ValueError, "model is for audio: wanted 16-bit samples"),
    (lambda m: m.predict(Image(1, 1, 0x08020001, b"x")), ValueError, "model is for audio: wanted 16-bit samples"),
    (lambda m: m.classify(bytes(4), roi=(0, 0, 1, 1)), ValueError, "model is for audio"),
    (lambda m: m.spot(b"abc"), ValueError, "pcm16: wanted whole 16-bit samples, got 3 bytes"),
    (lambda m: m.spot(array("f", [1])), TypeError, "pcm16: wanted a buffer of 16-bit samples"),
    (lambda m: m.spot(np.zeros((40, 2), np.int16)), ValueError, "samples of one channel, got an array of 40 x 2"),
    (lambda m: m.classify(np.zeros((2, 40), np.int16)), ValueError, "samples of one channel, got an array of 2 x 40"),
    (lambda m: m.classify(array("f", [1])), TypeError, "pcm16: wanted a buffer of 16-bit samples"),
    (lambda m: m.predict(array("f", [1])), TypeError, "x: wanted int8 values, got an array of 'f'"),
    (lambda m: m.spot(7), TypeError, "pcm16: wanted a buffer"),
    (lambda m: m.spot(b"", threshold=1.01), ValueError, "threshold: wanted 0 to 1"),
    (lambda m: m.spot(b"", smooth=-0.1), ValueError, "smooth: wanted 0 to 1"),
    (lambda m: m.spot(b"", pause=82), ValueError, "pause: wanted 0 to 81"),
    (lambda m: m.spot(b"", every=0), ValueError, "every: wanted 1 to 65535"),
    (lambda m: m.spot(b"", background="maybe"), ValueError, "background: wanted one of the labels"),
])  # fmt: skip
def test_errors(call, kind, text):
    with pytest.raises(kind, match=text):
        call(Model(TINY))


@pytest.mark.parametrize("changes, text", [
    ({"fft": 100}, "fft: wanted 32, 64, 128, 256, 512, 1024 or 2048, got 100"),
    ({"frame": 300}, "frame: wanted 1..256, got 300"),
    ({"hop": 0}, "hop: wanted 1 to 2048, got 0"),
    ({"hop": 257}, "hop: wanted 1..256"),
    ({"rate": 0}, "rate: wanted 1 to"),
    ({"low": 5000}, "low: wanted 0..4000"),
    ({"high": 5000}, "high: wanted at most 4000"),
    ({"top": -90}, "top: wanted more than floor"),
    ({"every": 0}, "every"),
    ({"smooth": 0}, "smooth"),
    ({"threshold": 2}, "threshold"),
    ({"pause": 1e9}, "pause"),
    ({"background": "maybe"}, "background: wanted one of no, yes, none, got maybe"),
])  # fmt: skip
def test_designs_that_cannot_be(changes, text):
    with pytest.raises(ValueError, match=text):
        replace(tiny(), end=Heard("sum", audio=replace(Audio(8000, 256, 256, 256), **changes))).check()


def test_design_is_kept():
    network = patch_tunnels("x", LABELS, 8, 8, 1, end=Audio(8000, 256, 128, 256, background="none"))
    assert from_dict(to_dict(network)) == network and network.task == "audio"
    recipe = PatchTunnels("x", LABELS, 8, 8, 1, end=Audio(8000, 256, 128, 256, background="none"))
    assert from_dict(recipe_to_dict(recipe)) == network and "audio" not in recipe_to_dict(replace(recipe, end=None))
    with pytest.raises(ValueError, match="network.audio: unknown key 'hops'"):
        from_dict({**recipe_to_dict(recipe), "audio": {"rate": 1, "frame": 1, "hop": 1, "fft": 32, "hops": 3}})


# ---------------------------------------------------------------- the blob


def test_blob_is_read_back():
    rng, blob = case(1)
    info = read(blob)
    network = blob_network(info, "x")
    assert pack(blob_qnet(blob, "x"), blob_plan(info)) == blob
    assert network.end.audio.rate == info.record["rate"] and network.task == "audio"


def test_arena_holds_the_stream():
    """m.ram is the plan's part, or the spectrum if that is larger, and the stream; a budget is for all of it."""
    network = patch_tunnels("x", LABELS, 16, 16, 1, k=1, central=False, stem_out=4, end=Audio(8000, 256, 128, 256))
    q = random_qnet(np.random.default_rng(0), network)
    points, silent = (front(n, fast=fast_layers(q)) for n in (network, replace(network, end=Pooled())))
    its = network.end.lasting(network, network.chain[-1].cout)
    assert (its.kept, its.idle) == (4 * 3 + 512 + 256, 1024)
    sizes = sorted({max(1024, -(-p.arena_bytes // 4) * 4) + 780 for p in silent})
    assert sorted({p.arena_bytes for p in points}) == sizes[: len({p.arena_bytes for p in points})]
    least = points[0].arena_bytes
    assert Model(pack(q, plan(network, least, fast=fast_layers(q)))).ram == least
    with pytest.raises(ValueError, match=f"budget {least - 1:,} B"):
        plan(network, least - 1, fast=fast_layers(q))


RECORD = read(TINY).record
HEAD = fmt.HEADER.unpack(TINY)


@pytest.mark.parametrize("error, values", [
    ("SHAPE", {"rate": 0}), ("SHAPE", {"frame": 0}), ("SHAPE", {"frame": 33}), ("SHAPE", {"hop": 0}),
    ("SHAPE", {"hop": 25}), *(("SHAPE", {"fft": n}) for n in (0, 16, 33, 48, 4096, 65535)), ("SHAPE", {"every": 0}),
    *(("SHAPE", {"log_mult": n}) for n in (0, -1, 32768)), ("SHAPE", {"log_offset": 2**30 + 1}),
    ("SHAPE", {"log_offset": -(2**31)}),
    ("SHAPE", {"threshold": 65537}), ("SHAPE", {"smooth": 0}), ("SHAPE", {"smooth": 257}), ("SHAPE", {"background": 3}),
    ("SHAPE", {"background": 65536}),
    *(("WEIGHTS", {f"{name}_off": n}) for name in ("window", "twiddle", "band", "weight")
      for n in (0, HEAD["weight_off"], 0xFFFFFFFC, RECORD[f"{name}_off"] + 2)),
    *(("WEIGHTS", {"weight_bytes": RECORD["weight_bytes"] + n}) for n in (-1, 1)),
    ("WEIGHTS", {"weight_bytes": 0xFFFFFFFF}),
    ("PLAN", {"stream_at": RECORD["stream_at"] + 4}), ("PLAN", {"stream_at": RECORD["stream_at"] - 1}),
    ("PLAN", {"stream_at": 124}), ("PLAN", {"stream_at": 0xFFFFFFFC}),
])  # fmt: skip
def test_record_is_refused(error, values):
    with pytest.raises(EngineError) as caught:
        Engine(with_record(TINY, **values))
    assert caught.value.name == error


@pytest.mark.parametrize("values", [
    {"threshold": 65536}, {"smooth": 256}, {"background": 2}, {"background": 65535}, {"log_mult": 32767},
    {"log_offset": 2**30}, {"log_offset": -(2**30)}, {"frame": 32}, {"pause": 65535}, {"rate": 1},
])  # fmt: skip
def test_record_at_its_limits(values):
    blob = with_record(TINY, **values)
    if "frame" in values:  # its ring needs 16 bytes more
        blob = with_header(blob, arena_bytes=HEAD["arena_bytes"] + 16)
    pcm = random_sound(np.random.default_rng(0), 100)
    assert bytes(Model(blob).predict(array("h", pcm.tobytes()))) == AudioOracle(blob).run_clip(pcm).outputs8.tobytes()


def with_header(blob: bytes, **values) -> bytes:
    out = bytearray(blob)
    for name, value in values.items():
        struct.pack_into("<" + dict(fmt.HEADER.fields)[name], out, fmt.HEADER.offsets()[name], value)
    return seal(out)


@pytest.mark.parametrize("error, values", [
    ("SHAPE", {"task_off": 0}), ("SHAPE", {"task_off": HEAD["task_off"] + 4}), ("SHAPE", {"task_off": 0xFFFFFFFC}),
    ("SHAPE", {"task_off": HEAD["task_off"] + 1}), ("TASK", {"task": 1}), ("TASK", {"task": 6}), ("TASK", {"task": 0}),
    ("PLAN", {"arena_bytes": HEAD["arena_bytes"] - 1}),
])  # fmt: skip
def test_header_is_refused(error, values):
    with pytest.raises(EngineError) as caught:
        Engine(with_header(TINY, **values))
    assert caught.value.name == error


def test_tables_are_refused():
    """A twiddle that is too long, a band beyond the spectrum."""
    for at, data, error in (
        (RECORD["twiddle_off"], struct.pack("<hh", 32767, 400), "WEIGHTS"),
        (RECORD["twiddle_off"], struct.pack("<hh", 23171 + 20, 23171 + 20), "WEIGHTS"),
        (RECORD["twiddle_off"], struct.pack("<hh", -32768, 0), "WEIGHTS"),
        (RECORD["band_off"], struct.pack("<H", 16), "WEIGHTS"),
        (RECORD["band_off"] + 2, struct.pack("<H", 65535), "WEIGHTS"),
    ):
        blob = bytearray(TINY)
        blob[at : at + len(data)] = data
        with pytest.raises(EngineError) as caught:
            Engine(seal(blob))
        assert caught.value.name == error


def test_damaged_blobs_are_refused_or_run(tmp_path):
    """Every byte flipped, every truncation, then random damage, under sanitizers; what opens also hears."""
    (tmp_path / "tiny.pnb").write_bytes(TINY)
    for arguments in ((), ("random", "1", "5000")):
        done = subprocess.run([sanitized("corrupt"), tmp_path / "tiny.pnb", *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        ran = int(done.stdout.split()[1])
        assert ran > 500


def test_analysis_counts_the_stream():
    """patchnet analyze: the arena is m.ram, the stream a part of it, and a design's flash is that of its blob."""
    network = patch_tunnels("x", LABELS, 16, 16, 1, k=1, central=False, stem_out=4, end=Audio(8000, 256, 128, 256))
    q = random_qnet(np.random.default_rng(0), network)
    chosen = plan(network, fast=fast_layers(q))
    blob = pack(q, chosen)
    found = analyze.analyze_network(network, chosen)
    assert (found.arena, found.stream, found.spectrum) == (Model(blob).ram, 780, 1024)
    assert found.blob_bytes == len(blob)
