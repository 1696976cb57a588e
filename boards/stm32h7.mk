# What every STM32H7 board of this folder is: MicroPython's own board of the same name, with patchnet. Only that which
# differs lives here; configuration, pins, linker scripts and start-up code are those of MicroPython's tree.
#
#     make -C <micropython>/ports/stm32 BOARD_DIR=<patchnet>/boards/<BOARD>

PATCHNET_TOP := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))/..)
PATCHNET_BOARD_DIR := $(abspath $(BOARD_DIR))

override BOARD_DIR := boards/$(BOARD)
ifeq ($(wildcard $(BOARD_DIR)/mpconfigboard.mk),)
$(error this MicroPython has no board $(BOARD), which came with MicroPython $(or $(PATCHNET_BOARD_SINCE),1.25 or before))
endif
include $(BOARD_DIR)/mpconfigboard.mk

# Freezes what MicroPython's board freezes, and patchnet's Python half.
MICROPY_MANIFEST_PATCHNET_BASE := $(abspath $(or $(FROZEN_MANIFEST),boards/manifest.py))
FROZEN_MANIFEST = $(PATCHNET_TOP)/boards/manifest.py
USER_C_MODULES ?= $(PATCHNET_TOP)

# PATCHNET_DTCM=1: MicroPython's board uses DTCM for nothing, so a model's arena lies in it.
ifeq ($(PATCHNET_DTCM),1)
CFLAGS += -DPATCHNET_BOARD_ARENA=1
LD_FILES += $(PATCHNET_TOP)/boards/dtcm.ld
endif
