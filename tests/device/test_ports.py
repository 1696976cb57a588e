"""How MicroPython is obtained, above all how it fails; and what must hold of the builds."""

import importlib.machinery
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cengine import engine_sources
from conftest import PATIENT, require
from patchnet.board import remote

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "ports" / "get-micropython"
FAILING_GIT = "#!/bin/sh\necho 'fatal: no network here' >&2\nexit 128\n"
FAILING_APT = "#!/bin/sh\necho 'E: nothing to be had' >&2\nexit 100\n"
WRONG_TARBALL_APT = (
    "#!/bin/sh\ncase \"$*\" in *' source '*) echo rubbish > 'micropython_1.25.0+ds.orig.tar.xz';; esac\n"
)


@pytest.fixture(scope="module")
def get_micropython():
    loader = importlib.machinery.SourceFileLoader("get_micropython", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("get_micropython", loader))
    loader.exec_module(module)
    return module


@pytest.fixture
def obtain(tmp_path):
    """Run the script with other programs in place of git and apt-get; returns (status, all it said)."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()

    def run(git=FAILING_GIT, apt=FAILING_APT, **env):
        for name, text in (("git", git), ("apt-get", apt)):
            (bin_folder / name).write_text(text)
            (bin_folder / name).chmod(0o755)
        result = subprocess.run([sys.executable, SCRIPT, "--dest", tmp_path / "build" / "micropython"], text=True,
                                env={"PATH": f"{bin_folder}:{os.environ['PATH']}", **env}, timeout=PATIENT,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
        return result.returncode, result.stdout

    return run


def make_tree(folder, version=(1, 25, 0)):
    (folder / "py").mkdir(parents=True)
    (folder / "py" / "mpconfig.h").write_text(
        "#define MICROPY_VERSION_MAJOR {}\n#define MICROPY_VERSION_MINOR {}\n#define MICROPY_VERSION_MICRO {}\n".format(
            *version
        )
    )
    return folder


def test_own_tree_is_linked_to(obtain, tmp_path):
    tree = make_tree(tmp_path / "mine", (1, 29, 0))
    status, said = obtain(MICROPYTHON_DIR=str(tree))
    assert status == 0 and "using MicroPython 1.29.0" in said and str(tree) in said
    assert (tmp_path / "build" / "micropython").resolve() == tree


def test_own_tree_that_is_none(obtain, tmp_path):
    status, said = obtain(MICROPYTHON_DIR=str(tmp_path))
    assert status == 1 and f"{tmp_path} is not a MicroPython source tree" in said


def test_own_tree_that_is_too_old(obtain, tmp_path):
    status, said = obtain(MICROPYTHON_DIR=str(make_tree(tmp_path / "old", (1, 24, 1))))
    assert status == 1 and "is MicroPython 1.24.1, and 1.25.0 or newer is needed" in said


def test_a_tree_that_is_there_is_left_alone(obtain, tmp_path):
    make_tree(tmp_path / "build" / "micropython")
    status, said = obtain()
    assert status == 0 and "already" in said


def test_own_tree_is_remembered(obtain, tmp_path):
    obtain(MICROPYTHON_DIR=str(make_tree(tmp_path / "mine")))
    status, said = obtain()
    assert status == 0 and f"is at {tmp_path / 'mine'} already" in said


def test_another_tree_drops_what_was_built_from_the_last(obtain, tmp_path):
    for name in ("unix", "firmware-NUCLEO_H743ZI2", "train"):
        (tmp_path / "build" / name).mkdir(parents=True)
    obtain(MICROPYTHON_DIR=str(make_tree(tmp_path / "mine")))
    assert {path.name for path in (tmp_path / "build").iterdir()} == {"micropython", "train"}


def test_all_ways_fail(obtain, tmp_path):
    status, said = obtain()
    assert status == 1
    assert "$MICROPYTHON_DIR: not set" in said and "fatal: no network here" in said
    assert "E: nothing to be had" in said or "not a Debian machine" in said
    assert "make micropython MICROPYTHON_DIR=" in said
    assert list((tmp_path / "build").iterdir()) == []


def test_a_clone_that_hangs_is_given_up(get_micropython):
    with pytest.raises(get_micropython.Unavailable, match="no answer within 0.2 s"):
        get_micropython.run(["sh", "-c", "sleep 60 & sleep 60"], 0.2)


def test_a_clone_of_another_commit_is_refused(get_micropython, tmp_path, monkeypatch):
    monkeypatch.setattr(get_micropython, "run", lambda command, *args, **kwargs: "0123456789\n")
    with pytest.raises(get_micropython.Unavailable, match="is commit 0123456789, not the expected"):
        get_micropython.clone(tmp_path)


TRIED = re.findall(r"^\| (\S+) \| `([0-9a-f]{40})` \|", (ROOT / "ports" / "README.md").read_text(), re.M)


def test_the_newest_release_that_was_tried_is_cloned(get_micropython, tmp_path, monkeypatch):
    version, commit = [row for row in TRIED if "preview" not in row[0]][-1]
    commands = []
    monkeypatch.setattr(get_micropython, "run", lambda command, *_, **__: commands.append(command) or f"{commit}\n")
    get_micropython.clone(tmp_path)
    assert commands[1][:7] == ["git", "clone", "--quiet", "--depth", "1", "--branch", f"v{version}"]


def test_debians_release_was_tried(get_micropython):
    assert any(f"={version}+ds" in get_micropython.PACKAGE for version, _ in TRIED)


def test_all_versions_that_were_tried_are_built_for_every_change():
    workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text()
    wanted = ["master" if "preview" in version else f"v{version}" for version, _ in TRIED]
    assert re.search(r"micropython: \[(.*)\]", workflow)[1].split(", ") == wanted


@pytest.fixture
def debian(tmp_path):
    """Arguments of debian_source for a machine of one mirror."""
    apt, release = tmp_path / "apt", tmp_path / "os-release"
    (apt / "sources.list.d").mkdir(parents=True)
    (apt / "sources.list").write_text("deb http://mirror.test/debian bookworm main\n")
    release.write_text('NAME="Debian GNU/Linux"\nID=debian\nVERSION_CODENAME=bookworm\n')
    return tmp_path, apt, release


def with_apt_get(text, tmp_path, monkeypatch):
    (tmp_path / "apt-get").write_text(text)
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def test_wrong_checksum(get_micropython, debian, monkeypatch):
    monkeypatch.setattr(get_micropython, "KEYRING", SCRIPT)
    with_apt_get(WRONG_TARBALL_APT, debian[0], monkeypatch)
    with pytest.raises(get_micropython.Unavailable, match="has sha256 [0-9a-f]{64}, not the expected 7b25be99"):
        get_micropython.debian_source(*debian)


def test_no_keyring(get_micropython, debian, monkeypatch):
    monkeypatch.setattr(get_micropython, "KEYRING", Path("/nowhere/keyring.gpg"))
    with_apt_get(FAILING_APT, debian[0], monkeypatch)
    with pytest.raises(get_micropython.Unavailable, match="debian-archive-keyring"):
        get_micropython.debian_source(*debian)


def test_other_distributions_have_no_debian_source(get_micropython, debian):
    debian[2].write_text("ID=ubuntu\nID_LIKE=debian\n")
    with pytest.raises(get_micropython.Unavailable, match="not a Debian machine"):
        get_micropython.debian_source(*debian)


def test_mirrors_are_read_from_both_formats_of_apt(get_micropython, debian):
    apt = debian[1]
    (apt / "sources.list").write_text(
        "# deb http://commented.test/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/x.gpg] http://one.test/debian/ bookworm main contrib\n"
        "deb cdrom:[Debian]/ bookworm main\n"
        "deb http://security.test/debian-security bookworm-security main\n")  # fmt: skip
    (apt / "sources.list.d" / "debian.sources").write_text(
        "Types: deb deb-src\n# a comment\nURIs: http://two.test/debian\n  http://three.test/debian\n"
        "Suites: bookworm bookworm-updates\nComponents: main\n\n"
        "Enabled: no\nTypes: deb\nURIs: http://off.test/debian\nSuites: bookworm\nComponents: main\n\n"
        "Types: deb\nURIs: http://other.test/tools\nSuites: nodistro\nComponents: main\n")  # fmt: skip
    mirrors = get_micropython.debian_mirrors(apt, "bookworm")
    assert mirrors == ["http://one.test/debian/", "http://two.test/debian", "http://three.test/debian"]


def test_no_mirror_is_named_in_the_project():
    """Users' mirrors come from their own apt; only MicroPython's home may be named."""
    for path in (SCRIPT, ROOT / "Makefile", ROOT / "ports" / "install-tools"):
        hosts = set(re.findall(r"https?://([^/\s\"']+)", path.read_text()))
        assert hosts <= {"github.com"}, path


def test_host_library_and_ports_build_the_same_engine():
    """The boards take what sources.mk lists; setup.py and the tests take all there is."""
    rules = "include modpatchnet/sources.mk\nall:\n\t@echo $(PATCHNET_ENGINE)\n"
    command = ["make", "-s", "-f", "-", "PATCHNET_DIR=modpatchnet"]
    made = subprocess.run(command, input=rules, text=True, capture_output=True, cwd=ROOT, check=True)
    listed = made.stdout.split()
    assert sorted(listed) == sorted(str(path.relative_to(ROOT)) for path in engine_sources())
    assert len(listed) > 20 and 'glob("modpatchnet/engine/**/*.c", recursive=True)' in (ROOT / "setup.py").read_text()


def sources_of_modules(folder, modules):
    """What a port's makefile would compile of the folders in `modules`, and with which flags: py/py.mk in short."""
    (folder / "Makefile").write_text(
        f"USER_C_MODULES = {modules}\nBUILD = out\nall:\n"
        "$(foreach mk,$(wildcard $(USER_C_MODULES)/*/micropython.mk),"
        "$(eval USERMOD_DIR = $(patsubst %/,%,$(dir $(mk))))$(eval include $(mk)))\n"
        "all:\n\t@echo $(SRC_USERMOD) $(SRC_USERMOD_C) $(SRC_USERMOD_LIB_C) $(CFLAGS_USERMOD)\n"
    )
    make = subprocess.run(["make", "-s", "-C", folder, "all"], text=True, capture_output=True, check=True)
    return make.stdout.split()


def test_module_builds_from_any_folder_of_modules(tmp_path):
    """micropython.mk names its sources relative to itself."""
    modules = tmp_path / "modules"
    shutil.copytree(ROOT / "modpatchnet", modules / "renamed")
    words = sources_of_modules(tmp_path, modules)
    assert f"-I{modules}/renamed" in words
    assert {Path(word).name for word in words if word.endswith(".c")} >= {"mod_patchnet.c", "pn_run.c"}
    assert all(word.startswith(str(modules)) and Path(word).is_file() for word in words if word.endswith(".c"))


@pytest.mark.parametrize("name", ["modpatchnet", "patchnet"])  # before and after OpenMV's own folder, modules
def test_module_lies_beside_openmvs(tmp_path, name):
    """OpenMV's makefile takes modules from the top of its tree; its own micropython.mk sets USERMOD_DIR."""
    shutil.copytree(ROOT / "modpatchnet", tmp_path / name)
    (tmp_path / "modules" / "ulab").mkdir(parents=True)
    (tmp_path / "modules" / "py_csi.c").touch()
    (tmp_path / "modules" / "micropython.mk").write_text(
        "OMV_MOD_DIR := $(USERMOD_DIR)\nSRC_USERMOD += $(wildcard $(OMV_MOD_DIR)/*.c)\n"
        "USERMOD_DIR := $(OMV_MOD_DIR)/ulab\n"
    )
    words = sources_of_modules(tmp_path, tmp_path)
    assert {str(path) for path in (tmp_path / name).rglob("*.c")} | {str(tmp_path / "modules" / "py_csi.c")} == {
        word for word in words if word.endswith(".c")
    }


def test_no_header_names_a_qstr():
    """MicroPython 1.29 looks for names in .c files only, and takes those of a header for the file's before it."""
    require("qemu")
    headers = []
    with open(remote.FIRMWARE.parent / "genhdr" / "qstr.i.last") as preprocessed:
        for line in preprocessed:
            mark = re.match(r'# \d+ "(.*)"', line)
            if mark:
                source = Path(mark[1])
            elif "MP_QSTR_" in line and source.suffix == ".h" and ROOT in source.parents:
                headers.append(f"{source}: {line}")
    assert headers == []


def test_emulated_board_uses_the_hard_float_abi():
    require("qemu")
    attributes = subprocess.run(["arm-none-eabi-readelf", "-A", remote.FIRMWARE], text=True, capture_output=True).stdout
    assert "Tag_ABI_VFP_args: VFP registers" in attributes


@pytest.mark.parametrize(
    "options", ["", "-DPN_PORTABLE", "-DPN_NO_FLOAT32 -DPN_NO_DETECT -DPN_NO_SOUND -DPN_NO_HEATMAP"]
)
def test_everything_compiles_for_an_h7_without_library_or_statics(tmp_path, options):
    require("qemu")  # its generated headers serve the binding
    check, env = ROOT / "ports" / "stm32" / "h7-check", os.environ | {"CFLAGS_EXTRA": options}
    result = subprocess.run([check, tmp_path], text=True, capture_output=True, env=env)
    assert result.returncode == 0, result.stdout + result.stderr


def test_stm32_says_what_a_tree_lacks(tmp_path):
    result = subprocess.run([ROOT / "ports" / "stm32" / "check-tree", tmp_path, "NUCLEO_H743ZI2"], text=True,
                            capture_output=True)  # fmt: skip
    assert result.returncode == 1 and "lib/stm32lib is empty" in result.stderr and "submodules" in result.stderr


@pytest.mark.parametrize("user, says", [
    ("1000", "sudo apt install gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"),
    ("0", "apt could not install: gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"),
])  # fmt: skip
def test_missing_tools_are_named(tmp_path, user, says):
    for name in ("env", "mktemp", "rm", "tail", "python3"):
        (tmp_path / name).symlink_to(sys.executable if name == "python3" else shutil.which(name))
    for name, text in {"id": f"#!/bin/sh\necho {user}\n", "apt-get": FAILING_APT}.items():
        (tmp_path / name).write_text(text.replace("/bin/sh", shutil.which("sh")))
        (tmp_path / name).chmod(0o755)
    result = subprocess.run([shutil.which("sh"), ROOT / "ports" / "install-tools"], text=True, capture_output=True,
                            env={"PATH": str(tmp_path)})  # fmt: skip
    assert result.returncode == 1
    assert says in result.stderr
