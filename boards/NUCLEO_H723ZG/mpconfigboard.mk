# ROMFS: 256 KiB of internal flash; the file system has 128 KiB (romfs.ld). DTCM is the file system's cache.
include $(dir $(lastword $(MAKEFILE_LIST)))../stm32h7.mk

CFLAGS += -DMICROPY_HW_ROMFS_ENABLE_INTERNAL_FLASH=1 -DMICROPY_HW_ROMFS_ENABLE_PART0=1
LD_FILES += $(PATCHNET_BOARD_DIR)/romfs.ld
