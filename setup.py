"""The engine as a plain C library (no Python.h), loaded with ctypes. All else: pyproject.toml, which cannot glob."""

import sysconfig
from glob import glob

from setuptools import Extension, setup

# Without Python.h one wheel does for every CPython; for one without the GIL wheels have no such tag.
ABI3 = not sysconfig.get_config_var("Py_GIL_DISABLED")

engine = Extension(
    "patchnet.engine._engine",
    sources=["host_tools/patchnet/engine/_engine.c", *sorted(glob("modpatchnet/engine/**/*.c", recursive=True))],
    depends=["modpatchnet/patchnet.h", *sorted(glob("modpatchnet/engine/**/*.h", recursive=True))],
    include_dirs=["modpatchnet"],
    # -g0: no path of the machine that it was built on; for pn_float.c see sources.mk
    extra_compile_args=["-std=c99", "-O3", "-g0", "-ffp-contract=off"],
    py_limited_api=ABI3,
)
setup(ext_modules=[engine], options={"bdist_wheel": {"py_limited_api": "cp311"}} if ABI3 else {})
