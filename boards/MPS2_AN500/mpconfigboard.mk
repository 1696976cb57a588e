# Arm's MPS2 board with the AN500 image (Cortex-M7) as emulated by QEMU, with the hard-float ABI of a real STM32H7.
# MicroPython has a board of this name from 1.27 on; this one works with 1.25 and later, and adds Ctrl-C, `time` and
# `select`, which that port lacks in 1.25.

QEMU_ARCH = arm
QEMU_MACHINE = mps2-an500

CFLAGS += -mthumb -mcpu=cortex-m7 -mfpu=fpv5-d16 -mfloat-abi=hard
CFLAGS += -DMICROPY_HW_MCU_NAME='"Cortex-M7"'
CFLAGS += -I$(BOARD_DIR) -DMP_CONFIGFILE='<mpconfigport_mps2_an500.h>'

# Own vector table and start-up. Of the 16 MB of external RAM the first 4 are the heap; the upper 12 stand for the flash of a real
# board: 9 for ROMFS, memory-mapped (rom.c; QEMU's loader can put an image there before the start), 2 for /flash and 1 for /sd (_boot.py).
LDSCRIPT = $(BOARD_DIR)/mps2_an500.ld
MICROPY_HEAP_SIZE ?= 4194304

# A model's arena lies in what stands for DTCM, as on a real board.
CFLAGS += -DPATCHNET_BOARD_ARENA=1

# QEMU_SOC_MPS2 is left undefined on purpose: the port's uart.c is then empty, and board.c brings a UART that
# interrupts. The port's polling mphalport.c cannot be left out, so its functions that board.c replaces are renamed.
$(BUILD)/mphalport.o: CFLAGS += $(foreach f,mp_hal_stdin_rx_chr mp_hal_stdio_poll mp_hal_ticks_ms mp_hal_ticks_us \
	mp_hal_ticks_cpu mp_hal_delay_ms mp_hal_delay_us,-D$f=port_$f)
# So is the ROMFS partition that the port has from 1.29 on: rom.c's can be written, too.
$(BUILD)/vfs_rom_ioctl.o: CFLAGS += -Dmp_vfs_rom_ioctl=port_vfs_rom_ioctl

SRC_C += $(wildcard $(BOARD_DIR)/*.c) shared/timeutils/timeutils.c
MICROPY_VFS_FAT = 1
MICROPY_VFS_LFS2 = 1
SRC_BOARD_O = shared/runtime/gchelper_native.o shared/runtime/gchelper_thumb2.o

MPY_CROSS_FLAGS += -march=armv7emdp
