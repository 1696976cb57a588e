# ROMFS: 8 MiB of QSPI flash at 0x90000000, as in MicroPython's board. DTCM is the arena's.
PATCHNET_BOARD_SINCE = 1.27
PATCHNET_DTCM = 1
include $(dir $(lastword $(MAKEFILE_LIST)))../stm32h7.mk
