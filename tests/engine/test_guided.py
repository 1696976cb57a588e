"""A few seconds of guided.py, from networks of each kind on; `make fuzz SECONDS=3600` goes on for longer."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

import guided
from fuzz import KINDS, blob_of, made

pytestmark = pytest.mark.skipif(bool(guided.missing()), reason=guided.missing() or "-")


def test_short(tmp_path):
    guided.write_seeds(tmp_path / "corpus", 2 * len(KINDS))
    assert guided.attempts(4, 1, tmp_path / "corpus") > 200


@pytest.mark.parametrize("seed", (52, 82))
def test_float32_in_groups(seed, tmp_path):
    """gcc's sanitizer, under which all other tests run, lets 0 be added to a null pointer; clang's does not."""
    blob = tmp_path / "groups.pnb"
    blob.write_bytes(blob_of(made("float32", seed, False, 2000), np.random.default_rng(seed), 1))
    done = subprocess.run([guided.fuzzer(), blob], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ran 2" in done.stderr


def test_what_fails_is_kept(tmp_path, monkeypatch):
    """A program that ends badly ends the attempts, with what it said."""
    bad = tmp_path / "bad"
    bad.write_text("#!/bin/sh\necho who is it\nexit 1\n")
    bad.chmod(0o755)
    monkeypatch.setattr(guided, "fuzzer", lambda: bad)
    with pytest.raises(SystemExit, match="who is it"):
        guided.attempts(1, 2, tmp_path / "corpus")
