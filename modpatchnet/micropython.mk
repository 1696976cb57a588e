# patchnet as a MicroPython user C module: make USER_C_MODULES=<the folder that holds modpatchnet> ...
# Freeze the Python half as well: FROZEN_MANIFEST must include modpatchnet/manifest.py.

PATCHNET_DIR := $(USERMOD_DIR)

# The engine is every pn_*.c: C99 without py/*, so it is compiled outside the qstr scan. What lies in dsp/ is empty but on a Cortex-M4 or M7.
PATCHNET_ENGINE_C := $(sort $(wildcard $(PATCHNET_DIR)/pn_*.c $(PATCHNET_DIR)/dsp/pn_*.c))
SRC_USERMOD_LIB_C += $(PATCHNET_ENGINE_C)
SRC_USERMOD_C += $(PATCHNET_DIR)/mod_patchnet.c
CFLAGS_USERMOD += -I$(PATCHNET_DIR)

# Ports compile with -Os, which costs what works on single pixels most of its speed, and the rest nothing.
PATCHNET_COPT ?= -O2
PATCHNET_HOT := $(filter %/pn_kernels.c %/pn_image.c %/pn_audio.c %/pn_fused.c %/pn_dsp_fused.c,$(PATCHNET_ENGINE_C))
# By the folder's own name, as from 1.29 on USER_C_MODULES may name several folders, or this one itself.
$(PATCHNET_HOT:$(PATCHNET_DIR)/%.c=$(BUILD)/$(notdir $(PATCHNET_DIR))/%.o): CFLAGS += $(PATCHNET_COPT)
