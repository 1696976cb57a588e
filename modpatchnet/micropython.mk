# patchnet as a MicroPython user C module: make USER_C_MODULES=<the folder that holds modpatchnet> ...
# Freeze the Python half as well: FROZEN_MANIFEST must include modpatchnet/manifest.py.

PATCHNET_DIR := $(USERMOD_DIR)
include $(PATCHNET_DIR)/sources.mk

SRC_USERMOD_LIB_C += $(PATCHNET_ENGINE)
SRC_USERMOD_C += $(PATCHNET_BINDING)
CFLAGS_USERMOD += $(PATCHNET_CFLAGS)
# By the folder's own name, as from 1.29 on USER_C_MODULES may name several folders, or this one itself.
$(PATCHNET_HOT:$(PATCHNET_DIR)/%.c=$(BUILD)/$(notdir $(PATCHNET_DIR))/%.o): CFLAGS += $(PATCHNET_COPT)
$(PATCHNET_COLD:$(PATCHNET_DIR)/%.c=$(BUILD)/$(notdir $(PATCHNET_DIR))/%.o): CFLAGS += $(PATCHNET_SMALL)
$(PATCHNET_FLOAT:$(PATCHNET_DIR)/%.c=$(BUILD)/$(notdir $(PATCHNET_DIR))/%.o): CFLAGS += $(PATCHNET_FLOAT_CFLAGS)
