# patchnet as a MicroPython user C module: make USER_C_MODULES=<the folder that holds modpatchnet> ...
# Freeze the Python half as well: FROZEN_MANIFEST must include modpatchnet/manifest.py.

PATCHNET_DIR := $(USERMOD_DIR)
include $(PATCHNET_DIR)/sources.mk

SRC_USERMOD_LIB_C += $(PATCHNET_ENGINE)
SRC_USERMOD_C += $(PATCHNET_BINDING)
CFLAGS_USERMOD += $(PATCHNET_CFLAGS)
$(PATCHNET_HOT:$(USER_C_MODULES)/%.c=$(BUILD)/%.o): CFLAGS += $(PATCHNET_COPT)
