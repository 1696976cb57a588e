"""What `make release` leaves in dist/: the wheel, alone in an empty environment outside of the repository, does all
that needs no clone, and `mpremote mip install` takes the rest to a board.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import tomllib
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from test_native import BUILD, STOCK, require

import toys
from conftest import PATIENT
from patchnet.board import remote

ROOT = remote.ROOT
PACKAGE = ROOT / "host_tools" / "patchnet"
NATMOD = BUILD / "natmod" / "armv7emsp"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
ENV = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PATCHNET_DATA")}
MODULE = ("patchnet.mpy", "filecam.py", "filemic.py")


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """dist/ as `make release` fills it, of a native module that was built before."""
    require(NATMOD / "patchnet.mpy")
    folder = tmp_path_factory.mktemp("release") / "dist"
    command = ["make", "-C", ROOT, "packages", f"DIST={folder}", f"VENV={sys.prefix}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENT)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def needed(dist, extra, found):
    """The names of all packages that a distribution requires, with those of an extra."""
    for requirement in map(Requirement, dist.requires or ()):
        if requirement.name not in found and (not requirement.marker or requirement.marker.evaluate({"extra": extra})):
            found.add(requirement.name)
            needed(metadata.distribution(requirement.name), "", found)
    return found


class Installed:
    """The wheel in an environment of its own, which has what it requires and no more: links to the packages of this
    one, so that nothing is downloaded. Its commands run in the folder `here`."""

    def __init__(self, wheel, folder):
        self.bin, self.here = folder / "env" / "bin", folder / "here"
        self.here.mkdir()
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", self.bin / "python"]
        subprocess.run([*pip, "install", "-q", "--no-deps", "--no-index", wheel], env=ENV, check=True)
        (self.site,) = (folder / "env").glob("lib/python*/site-packages")
        self.require("")

    def require(self, extra):
        (own,) = metadata.distributions(name="patchnet", path=[str(self.site)])
        for package in map(metadata.distribution, needed(own, extra, set())):
            for top in {file.parts[0] for file in package.files} - {"..", "__pycache__"}:
                if not (self.site / top).exists():
                    (self.site / top).symlink_to(package.locate_file(top))

    def run(self, program, *words, status=0):
        """What it prints; with a status other than 0 its errors."""
        words = [self.bin / program, *words]
        done = subprocess.run(words, cwd=self.here, env=ENV, capture_output=True, text=True, timeout=PATIENT)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stderr if status else done.stdout

    def patchnet(self, command, status=0):
        return self.run("patchnet", *command.split(), status=status)


@pytest.fixture(scope="module")
def installed(dist, tmp_path_factory):
    (wheel,) = dist.glob("*.whl")
    return Installed(wheel, tmp_path_factory.mktemp("installed"))


@pytest.fixture
def stock():
    """The port of an emulated board whose firmware lacks patchnet."""
    emulator = remote.Qemu(require(STOCK["qemu"]), None, False)
    yield emulator.port
    emulator.stop()


def test_all_is_there(dist):
    """One version everywhere, and in wheel and sdist the very module that mip installs."""
    assert sorted(path.name for path in dist.iterdir()) == sorted(
        [*MODULE, "package.json", "patchnet.pyi", f"patchnet-{VERSION}.tar.gz", *(p.name for p in dist.glob("*.whl"))]
    )
    package = json.loads((dist / "package.json").read_text())
    assert package == {"urls": [[name, name] for name in MODULE], "version": VERSION}
    (wheel,) = dist.glob(f"patchnet-{VERSION}-*.whl")
    assert "manylinux" in wheel.name or sys.platform != "linux"
    with zipfile.ZipFile(wheel) as packed, tarfile.open(dist / f"patchnet-{VERSION}.tar.gz") as source:
        for name in (*MODULE, "package.json"):
            wanted = (dist / name).read_bytes()
            assert packed.read(f"patchnet/{name}") == wanted, name
            assert source.extractfile(f"patchnet-{VERSION}/host_tools/patchnet/{name}").read() == wanted, name
    assert (dist / "patchnet.mpy").read_bytes() == (NATMOD / "patchnet.mpy").read_bytes()


def test_nothing_else_is_packed(dist):
    """The wheel has what git knows of the package, its engine, and what a release adds."""
    (wheel,) = dist.glob("*.whl")
    every = zipfile.ZipFile(wheel).namelist()
    names = {name for name in every if not name.startswith(f"patchnet-{VERSION}.") and not name.endswith("/")}
    known = subprocess.run(["git", "ls-files"], cwd=PACKAGE, capture_output=True, text=True, check=True).stdout.split()
    made = names - {f"patchnet/{name}" for name in known}
    assert {Path(name).name.partition(".")[0] for name in made} == {"patchnet", "package", "_engine"} and len(made) == 3
    assert {f"patchnet/{name}" for name in known} <= names


def test_networks_without_a_clone(installed):
    assert "commands, in the order of work" in installed.patchnet("--help")
    assert installed.patchnet("--version") == f"patchnet {VERSION}\n"
    where = installed.run("python", "-c", "import patchnet; print(patchnet.__file__)")
    assert where.startswith(str(installed.site)), "another package than the wheel's is tried"
    for file in ("vww_96_int8.tflite", "vww.txt"):
        shutil.copy(ROOT / "examples" / "import" / file, installed.here)
    shutil.copy(PACKAGE / "pictures" / "person-astronaut.ppm", installed.here / "astronaut.ppm")
    assert "astronaut.ppm: person 0.8" in installed.patchnet("predict person astronaut.ppm")
    assert "11,904 B" in installed.patchnet("analyze person")
    told = installed.patchnet("import vww_96_int8.tflite --labels vww.txt -o runs/mlperf")
    assert "arena 15,312 B" in told
    installed.patchnet("pack runs/mlperf --budget 14K -o small.pnb")
    answers = [installed.patchnet(f"predict {net} astronaut.ppm") for net in ("runs/mlperf", "small.pnb")]
    assert answers[0] == answers[1] and "astronaut.ppm: person" in answers[0]


def test_make_without_a_clone(installed):
    """First without PyTorch: what needs none is done, and one line says what is missing; then from there on."""
    pytest.importorskip("torch")
    toys.folder(installed.here / "PICTURES")
    command = "make PICTURES --minutes 0.2 --ram 9K --flash 40K -o runs/mine --json"
    told = installed.patchnet(command, status=2).splitlines()
    assert any(line.startswith("networks that fit") for line in told)
    assert told[-1] == "patchnet: this needs the package 'torch': pip install 'patchnet[train]'"
    installed.require("train")
    made = json.loads(installed.patchnet(command))
    assert [result["on"] for result in made["results"]] == ["float", "host"] and made["results"][1]["top1"] > 0.8
    assert (installed.here / made["report"]).is_file()


@pytest.mark.parametrize(
    "command",
    [
        "patchnet val person --data PICTURES --on unix",
        "patchnet val person --data PICTURES --on host,qemu",
        "patchnet predict person picture.ppm --on qemu",
        "patchnet report RUN --on unix",
        "patchnet bench",
        "patchnet bench person --on qemu",
        "python -m patchnet.demo",
    ],
)
def test_what_needs_a_clone_says_so_in_one_line(installed, command):
    (line,) = installed.run(*command.split(), status=2).splitlines()
    assert re.search(r"(unix|qemu) needs a clone of patchnet's repository, in which `make \1` builds it", line)


def test_deploy_brings_the_native_module(installed, stock):
    said = installed.patchnet(f"deploy digits --port {stock} --install")
    assert "/rom/digits.pnb" in said and "answers as this PC does" in said
    (found,) = [f for f in json.loads(installed.patchnet(f"devices --json --port {stock}")) if f["device"] == stock]
    assert found["patchnet"] == "/flash/lib"


@contextlib.contextmanager
def served(folder):
    """The address of a web server for a folder."""
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("source", ["file", "web"])
def test_mip_installs_a_release(dist, installed, stock, source):
    look = "import os, patchnet, filecam, filemic; print(patchnet.Model, os.listdir('/flash/lib'))"
    with served(dist) as address:
        package = {"file": dist / "package.json", "web": f"{address}/package.json"}[source]
        words = ["connect", stock, "mip", "install", package, "+", "exec", look]
        said = installed.run("python", "-m", "mpremote", *words)
    assert "<class 'Model'>" in said and all(repr(name) in said for name in MODULE)
