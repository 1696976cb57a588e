# The C sources and how they are compiled, once for all builds: micropython.mk and ports/natmod/Makefile include this,
# ports/stm32/h7-check asks it. setup.py and the tests take all .c files below engine/, which is the same.
# Set PATCHNET_DIR, the folder of this file, before.

# The engine is C99 without py/*, so ports compile it outside their qstr scan.
PATCHNET_ENGINE := $(sort $(foreach level,* */* */*/*,$(wildcard $(PATCHNET_DIR)/engine/$(level).c)))
# Empty but on a Cortex-M4 or M7.
PATCHNET_ARMV7EM := $(foreach file,$(PATCHNET_ENGINE),$(if $(findstring /armv7em/,$(file)),$(file)))
PATCHNET_BINDING := $(PATCHNET_DIR)/binding/mod_patchnet.c

# Paths in #include are those from here.
PATCHNET_CFLAGS := -I$(PATCHNET_DIR)

# Ports compile with -Os, which costs what works on single pixels of a picture or values of a spectrum most of its speed,
# and the rest nothing.
PATCHNET_COPT ?= -O2
PATCHNET_HOT := $(filter %/pn_image.c %/pn_spectrum.c,$(PATCHNET_ENGINE))

# What makes the rest larger on a Cortex-M when gcc is asked for small code: without it 1 KB less, and as quick but for
# kernels in C.
PATCHNET_COLD := $(filter-out $(PATCHNET_HOT) %/pn_kernels.c %/pn_conv.c %/pn_dsp_sums.c,$(PATCHNET_ENGINE))
PATCHNET_SMALL = $(if $(findstring arm-none-eabi-gcc,$(CC)),$(PATCHNET_SMALL_CFLAGS))
PATCHNET_SMALL_CFLAGS := -fno-move-loop-invariants -fno-ipa-sra -fno-schedule-insns2 -fno-tree-loop-optimize \
	-fno-tree-dominator-opts

# Float32 networks answer alike on all machines if no product and sum become one instruction with one rounding.
PATCHNET_FLOAT := $(filter %/pn_float.c,$(PATCHNET_ENGINE))
PATCHNET_FLOAT_CFLAGS := -ffp-contract=off
