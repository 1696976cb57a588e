# ROMFS: 4 MiB of the QSPI flash at 0x90b00000, as in MicroPython's board. DTCM is the arena's.
PATCHNET_DTCM = 1
include $(dir $(lastword $(MAKEFILE_LIST)))../stm32h7.mk
