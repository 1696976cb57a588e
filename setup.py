"""The engine as a plain C library (no Python.h), loaded with ctypes. All else: pyproject.toml, which cannot glob."""

from glob import glob

from setuptools import Extension, setup

engine = Extension(
    "patchnet.engine._engine",
    sources=["host_tools/patchnet/engine/_engine.c", *sorted(glob("modpatchnet/engine/**/*.c", recursive=True))],
    depends=["modpatchnet/patchnet.h", *sorted(glob("modpatchnet/engine/**/*.h", recursive=True))],
    include_dirs=["modpatchnet"],
    extra_compile_args=["-std=c99", "-O3"],
)
setup(ext_modules=[engine])
