# ROMFS: 8 MiB of QSPI flash at 0x90000000, as in MicroPython's board. DTCM is free.
PATCHNET_BOARD_SINCE = 1.27
include $(dir $(lastword $(MAKEFILE_LIST)))../stm32h7.mk
