# patchnet: `make help` lists the targets. Everything that is built lies in build/ and .venv/.

PYTHON ?= python3
JOBS ?= $(shell nproc)
BUILD := $(CURDIR)/build
VENV := $(CURDIR)/.venv
MPY := $(BUILD)/micropython
MPY_CROSS := $(BUILD)/mpy-cross/mpy-cross
READY := $(VENV)/.patchnet-ready
TRAIN_READY := $(VENV)/.patchnet-train-ready
DOCS_READY := $(VENV)/.patchnet-docs-ready
TORCH := 2.13.0

# Without the ceiling, a tree unpacked inside this repository would take this repository's version for its own.
MPY_MAKE = +PYTHONDONTWRITEBYTECODE=1 GIT_CEILING_DIRECTORIES=$(BUILD) $(MAKE) -j$(JOBS) --no-print-directory
# Frozen code comes from this repository only, so the micropython-lib submodule is never needed.
MPY_ARGS = MICROPY_MPYCROSS=$(MPY_CROSS) MPY_LIB_DIR=$(CURDIR)/ports/mpy-lib USER_C_MODULES=$(CURDIR)
# $(call logged,NAME): show the log of a failed build, and nothing of a good one.
logged = > $(BUILD)/$1.log 2>&1 || { tail -n 40 $(BUILD)/$1.log; echo "the $1 build failed; all of it: $(BUILD)/$1.log"; exit 1; }

# $(call renewed,NAME): MicroPython's rules do not see that the emulated board has other parts of it switched on: then from scratch.
renewed = test ! boards/MPS2_AN500/mpconfigboard.mk -nt $(BUILD)/$1/genhdr/mpversion.h || rm -rf $(BUILD)/$1

.PHONY: help
help:
	@echo "patchnet: small neural networks on STM32H7 boards, in MicroPython"
	@echo
	@sed -n 's/^#: //p' Makefile
	@echo
	@echo "Settings: MICROPYTHON_DIR=<a MicroPython tree of yours>  BOARD=<for firmware>  JOBS=<parallel jobs>"
	@echo "          TORCH_INDEX=<package index with CPU builds of PyTorch>"

#: make demo          set up and build what is missing, then classify pictures on both ports
.PHONY: demo
demo: setup unix qemu
	@$(VENV)/bin/python -m patchnet.demo

#: make check         before every commit, less than a minute: format, lint, types, tests that are quick and need no device
C_FILES = git ls-files $(foreach folder,modpatchnet host_tools tests boards ports,'$(folder)/*.[ch]')
.PHONY: check
check: $(READY)
	$(VENV)/bin/ruff format --check -q .
	$(VENV)/bin/ruff check -q .
	$(C_FILES) | xargs $(VENV)/bin/clang-format --dry-run -Werror
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest -q -n $(JOBS) --dist loadfile -m "not device" tests/unit

#: make format        what `make check` wants of the format
.PHONY: format
format: $(READY)
	$(VENV)/bin/ruff format -q .
	$(C_FILES) | xargs $(VENV)/bin/clang-format -i

#: make test          the same set-up and PyTorch, `make check`, then all tests
# One more than there are cores, as tests of boards wait for a serial line at times. Each begins with a stretch of
# files of its own, so that what a file's tests share is seldom made twice, and then takes tests of those behind.
WORKERS = $(shell expr $(JOBS) + 1)
.PHONY: test
test: check setup-train $(DOCS_READY) unix asan qemu native
	@ports/install-tools fuzz || echo "without these some tests are skipped"
	PATCHNET_REQUIRE_DEVICES=1 $(VENV)/bin/python -m pytest -n $(WORKERS) --dist worksteal --junitxml $(BUILD)/tests.xml tests $(PYTEST_ARGS)

#: make setup         cross compiler, QEMU (both through apt when it may), .venv with all but PyTorch
.PHONY: setup
setup: tools $(READY)

#: make setup-train   the same, and PyTorch for training
.PHONY: setup-train
setup-train: setup $(TRAIN_READY)

.PHONY: tools
tools:
	@ports/install-tools

$(VENV)/bin/python: | tools
	$(PYTHON) -m venv $(VENV)

ENGINE_FILES = $(wildcard $(addsuffix /*.[ch],modpatchnet modpatchnet/engine modpatchnet/engine/* modpatchnet/engine/*/*))
$(READY): pyproject.toml setup.py $(ENGINE_FILES) $(wildcard host_tools/patchnet/engine/*.c) | $(VENV)/bin/python
	@rm -f host_tools/patchnet/engine/_engine*.so # one that an older setup.py named otherwise would be found first
	$(VENV)/bin/pip install -q --disable-pip-version-check -e ".[test]"
	@touch $@

# The plain requirement gets a CUDA build of several GB from the usual index, so the CPU build is asked for first.
PIP_TORCH = $(VENV)/bin/pip install -q --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
$(TRAIN_READY): pyproject.toml $(READY)
	@$(PIP_TORCH) "torch==$(TORCH)+cpu" 2> $(VENV)/torch.log || { \
		echo "no CPU build of PyTorch $(TORCH) in the package index that pip uses: installing the default one (it may be" ; \
		echo "several GB; \`make setup-train TORCH_INDEX=...\` names an index that has CPU builds)" ; \
		$(PIP_TORCH) "torch==$(TORCH)"; }
	$(VENV)/bin/pip install -q --disable-pip-version-check -e ".[test,train]"
	@touch $@

$(DOCS_READY): pyproject.toml $(READY)
	$(VENV)/bin/pip install -q --disable-pip-version-check -e ".[docs]"
	@touch $@

#: make docs          build/site: the docs as a site, and docs/reference anew from the sources
.PHONY: docs
docs: $(DOCS_READY)
	$(VENV)/bin/python docs/make_reference.py
	$(VENV)/bin/python docs/make_papers.py
	$(VENV)/bin/python docs/make_directions.py
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict -q
	@echo "$(BUILD)/site/index.html; to search it: $(VENV)/bin/python -m http.server -d $(BUILD)/site"

#: make micropython   get MicroPython's sources (MICROPYTHON_DIR, git or Debian) into build/micropython
.PHONY: micropython
micropython:
	@MICROPYTHON_DIR="$(MICROPYTHON_DIR)" ports/get-micropython

.PHONY: mpy-cross
mpy-cross: micropython
	@$(MPY_MAKE) -C $(MPY)/mpy-cross BUILD=$(BUILD)/mpy-cross $(call logged,mpy-cross)

#: make unix          build/unix/micropython: MicroPython with patchnet for this PC
.PHONY: unix
unix: mpy-cross
	@echo "building the unix port"
	@$(MPY_MAKE) -C $(MPY)/ports/unix BUILD=$(BUILD)/unix VARIANT=patchnet VARIANT_DIR=$(CURDIR)/ports/unix \
		$(MPY_ARGS) $(call logged,unix)

#: make asan          build/unix-asan/micropython: the same under ASan and UBSan, for tests
SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-sanitize=alignment,shift,pointer-overflow,nonnull-attribute -O1
.PHONY: asan
asan: mpy-cross
	@echo "building the unix port under sanitizers"
	@$(MPY_MAKE) -C $(MPY)/ports/unix BUILD=$(BUILD)/unix-asan VARIANT=patchnet VARIANT_DIR=$(CURDIR)/ports/unix \
		CFLAGS_EXTRA="$(SANITIZE)" LDFLAGS_EXTRA="$(SANITIZE)" STRIP=true $(MPY_ARGS) $(call logged,unix-asan)

#: make qemu          build/qemu/firmware.elf: the same for an emulated Cortex-M7
.PHONY: qemu
qemu: mpy-cross tools
	@echo "building the emulated Cortex-M7's firmware"
	@$(call renewed,qemu)
	@$(MPY_MAKE) -C $(MPY)/ports/qemu BUILD=$(BUILD)/qemu BOARD=MPS2_AN500 BOARD_DIR=$(CURDIR)/boards/MPS2_AN500 \
		FROZEN_MANIFEST=$(CURDIR)/ports/qemu/manifest.py $(MPY_ARGS) $(call logged,qemu)
	@$(CC) -std=c99 -O2 -Wall -Wextra -Werror -shared -fPIC -DPLUGIN_VERSION=$(PLUGIN_VERSION) -o $(BUILD)/qemu/blocks.so ports/qemu/blocks.c

# Of QEMU's interface for plugins: from its version 9 on it wants the second one or later.
PLUGIN_VERSION = $(shell qemu-system-arm --version | sed -n 's/.*version \([0-9]*\).*/\1/p' | awk '{ print $$1 < 9 ? 1 : 2 }')

#: make natmod        build/natmod/ARCH/patchnet.mpy, to be installed on a stock firmware: ARCH=armv7emsp (every H7), armv7emdp, x64, rv32imc
ARCH ?= armv7emsp
NATMOD = $(BUILD)/natmod/$(ARCH)
.PHONY: natmod
natmod: mpy-cross tools $(READY)
	@echo "building the native module for $(ARCH)"
	@mkdir -p $(NATMOD)
	@$(MPY_MAKE) -C $(NATMOD) -f $(CURDIR)/ports/natmod/Makefile ARCH=$(ARCH) MPY_DIR=$(MPY) MPY_CROSS=$(MPY_CROSS) \
		PYTHON=$(VENV)/bin/python $(call logged,natmod-$(ARCH))
	@cp modpatchnet/filecam.py modpatchnet/filemic.py modpatchnet/patchnet.pyi ports/natmod/package.json $(NATMOD)
	@echo "$(NATMOD)/patchnet.mpy: $$(wc -c < $(NATMOD)/patchnet.mpy) bytes"

#: make native        what its tests need: both ports without patchnet, and the native modules for them
.PHONY: native
native: mpy-cross tools
	@echo "building both ports without patchnet"
	@$(MPY_MAKE) -C $(MPY)/ports/unix BUILD=$(BUILD)/unix-stock VARIANT=patchnet VARIANT_DIR=$(CURDIR)/ports/unix \
		MICROPY_MPYCROSS=$(MPY_CROSS) FROZEN_MANIFEST= $(call logged,unix-stock)
	@$(call renewed,qemu-stock)
	@$(MPY_MAKE) -C $(MPY)/ports/qemu BUILD=$(BUILD)/qemu-stock BOARD=MPS2_AN500 BOARD_DIR=$(CURDIR)/boards/MPS2_AN500 \
		MICROPY_MPYCROSS=$(MPY_CROSS) MPY_LIB_DIR=$(CURDIR)/ports/mpy-lib \
		FROZEN_MANIFEST=$(CURDIR)/boards/MPS2_AN500/manifest.py $(call logged,qemu-stock)
	@$(MAKE) --no-print-directory natmod ARCH=armv7emsp
	@$(MAKE) --no-print-directory natmod ARCH=x64

#: make release       dist/: wheel and sdist, which hold the native module too, and package.json with its files for `mpremote mip install`
DIST ?= $(CURDIR)/dist
.PHONY: release
release: natmod
	@$(MAKE) --no-print-directory packages

# With what `make natmod` made, from a copy of what git knows: setuptools takes along what it finds lying about.
TREE = $(DIST)/.patchnet
.PHONY: packages
packages:
	@echo "packing wheel and sdist"
	@rm -rf $(TREE) $(DIST)/patchnet-*.whl $(DIST)/patchnet-*.tar.gz && mkdir -p $(TREE)
	@git ls-files -z | xargs -0 cp -P --parents -t $(TREE)
	@cp $(NATMOD)/patchnet.mpy $(NATMOD)/package.json $(TREE)/host_tools/patchnet
	@$(VENV)/bin/python -m build --no-isolation --outdir $(DIST) $(TREE) $(call logged,packages)
	@cd $(DIST) && for wheel in patchnet-*-linux_*.whl; do test ! -e $$wheel || \
		{ PATH=$(VENV)/bin:$$PATH auditwheel repair -w . $$wheel $(call logged,auditwheel) && rm $$wheel; } done
	@cp $(addprefix $(NATMOD)/,patchnet.mpy package.json filecam.py filemic.py patchnet.pyi) $(DIST)
	@rm -r $(TREE)
	@ls $(DIST)

#: make firmware      build/firmware-$(BOARD)/firmware.{dfu,hex,bin} of a board, needs a full tree as MICROPYTHON_DIR; COMPARE=1: sizes without patchnet, too
BOARD ?= NUCLEO_H743ZI2
FIRMWARE = $(BUILD)/firmware-$(BOARD)
PLAIN = $(BUILD)/plain-$(BOARD)
# Boards that have no folder here are built as they are in MicroPython's tree.
BOARD_ARGS = $(if $(wildcard boards/$(BOARD)/mpconfigboard.mk),BOARD_DIR=$(CURDIR)/boards/$(BOARD),BOARD=$(BOARD) \
	USER_C_MODULES=$(CURDIR) MICROPY_MANIFEST_PATCHNET_BASE=$(MPY)/ports/stm32/boards/manifest.py FROZEN_MANIFEST=$(CURDIR)/boards/manifest.py)
STM32_MAKE = $(MPY_MAKE) -C $(MPY)/ports/stm32 MICROPY_MPYCROSS=$(MPY_CROSS)
.PHONY: firmware
firmware: mpy-cross tools
	@ports/stm32/check-tree $(MPY) $(BOARD)
	@echo "building the firmware of $(BOARD)"
	@$(STM32_MAKE) $(BOARD_ARGS) BUILD=$(FIRMWARE) $(call logged,firmware-$(BOARD))
	@arm-none-eabi-objcopy -I ihex -O binary --gap-fill 0xff $(FIRMWARE)/firmware.hex $(FIRMWARE)/firmware.bin
	@$(if $(COMPARE),$(STM32_MAKE) BOARD=$(BOARD) BUILD=$(PLAIN) $(call logged,plain-$(BOARD)))
	@ports/stm32/sizes $(FIRMWARE)/firmware.elf $(if $(COMPARE),$(PLAIN)/firmware.elf)
	@ls $(FIRMWARE)/firmware.dfu $(FIRMWARE)/firmware.hex $(FIRMWARE)/firmware.bin

#: make h7-check      compile all C as for an H7 with every warning an error; the engine may need no library and no statics
.PHONY: h7-check
h7-check: qemu
	@ports/stm32/h7-check $(BUILD)/h7

#: make size          code size of the engine and the binding on a Cortex-M7
.PHONY: size
size: h7-check
	@arm-none-eabi-size -t $(BUILD)/h7/*.o

#: make bench         count instructions of blocks and networks on the emulated Cortex-M7: RUNS=<folder of runs>
.PHONY: bench
bench: setup qemu
	$(VENV)/bin/python -m patchnet.cli bench --firmware $(BUILD)/qemu/firmware.elf $(if $(RUNS),--runs $(RUNS))

#: make figures       docs/figures.json and papers.md: sizes, stack, instructions, arenas, seconds; tells what changed (minutes): ONLY="code bench plans papers tests"
.PHONY: figures
figures: setup qemu
	$(VENV)/bin/python tests/figures.py $(if $(ONLY),--only $(ONLY))
	$(VENV)/bin/python docs/make_papers.py

#: make fuzz          the random tests of the engine, longer, then blobs led by coverage (clang): NETWORKS=<n> DAMAGE=<n> SECONDS=<n>
NETWORKS ?= 1000
DAMAGE ?= 100000
SECONDS ?= 600
.PHONY: fuzz
fuzz: setup fuzz-tools
	$(VENV)/bin/python tests/fuzz.py --networks $(NETWORKS) --damage $(DAMAGE)
	$(VENV)/bin/python tests/guided.py --seconds $(SECONDS) --jobs $(JOBS)

.PHONY: fuzz-tools
fuzz-tools: tools
	@ports/install-tools fuzz

#: make compilers     the tests of the engine built by gcc and clang, at -O0, -O2 and -Os; then what gcc's analyzer finds
ENGINE_TESTS ?= $(addprefix tests/engine/test_,engine.py ends.py detection.py audio.py stream.py window.py arena.py corruption.py)
.PHONY: compilers
compilers: setup fuzz-tools
	for cc in gcc clang; do for level in -O0 -O2 -Os; do echo "$$cc $$level"; \
		CC=$$cc PATCHNET_CFLAGS=$$level $(VENV)/bin/python -m pytest -q -n $(JOBS) -m "not device" $(ENGINE_TESTS) || exit 1; done; done
	CFLAGS_EXTRA=-fanalyzer ports/stm32/h7-check $(BUILD)/h7-analyzed
	@$(MAKE) --no-print-directory tidy

#: make tidy          what clang-tidy finds in the C of modpatchnet: modpatchnet/.clang-tidy
TIDY = --target=arm-none-eabi -mcpu=cortex-m7 -mfpu=fpv5-d16 -mfloat-abi=hard -Imodpatchnet \
	-isystem $(shell arm-none-eabi-gcc -xc -E -v /dev/null 2>&1 | sed -n 's|^ \(.*arm-none-eabi/include\)$$|\1|p')
.PHONY: tidy
tidy: qemu fuzz-tools
	find modpatchnet/engine -name '*.c' | xargs -I{} clang-tidy --quiet {} -- -std=c99 $(TIDY)
	clang-tidy --quiet modpatchnet/binding/mod_patchnet.c -- -std=gnu99 $(TIDY) -I$(MPY) -I$(MPY)/ports/qemu -I$(BUILD)/qemu \
		-Iboards/MPS2_AN500 '-DMP_CONFIGFILE=<mpconfigport_mps2_an500.h>' -DNDEBUG

#: make soak          networks in turn on the emulated board, interrupted and reset: MINUTES=<n>
MINUTES ?= 60
.PHONY: soak
soak: setup qemu
	$(VENV)/bin/python tests/soak.py --minutes $(MINUTES)

#: make transfer      what pretrained weights are worth, three seeds each (an hour): SETS="flowers imagenette vww_coco raccoon"
SETS ?= flowers imagenette vww_coco raccoon
.PHONY: transfer
transfer: setup-train
	for set in $(SETS); do $(VENV)/bin/python tests/transfer.py $${set}_train $${set}_test -o runs/transfer/$$set || exit 1; done

#: make directions    do the paper's directions hold: networks that differ in one thing each, three seeds (a day): DIRECTIONS="vww_coco cifar10 flowers"
DIRECTIONS ?= vww_coco cifar10 flowers
.PHONY: directions
directions: setup-train
	for set in $(DIRECTIONS); do $(VENV)/bin/python tests/directions.py $$set -o runs/directions/$$set || exit 1; done

#: make search-proxy  how short trainings of `patchnet search` rank networks, against full ones, eight networks (an hour): PROXY="flowers"
PROXY ?= flowers
.PHONY: search-proxy
search-proxy: setup-train
	for set in $(PROXY); do $(VENV)/bin/python tests/proxy.py $${set}_train $${set}_test -o runs/proxy/$$set || exit 1; done

#: make clean         remove build/; .venv stays
.PHONY: clean
clean:
	rm -rf $(BUILD)
