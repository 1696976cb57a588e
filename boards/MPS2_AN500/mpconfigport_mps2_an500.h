// The qemu port's configuration with the parts switched on that board.c makes possible.

#include "mpconfigport.h"

// From 1.27 on the port's makefile says this and not its header, and ports/stm32/h7-check takes the header only.
#ifndef MICROPY_FLOAT_IMPL
#define MICROPY_FLOAT_IMPL (MICROPY_FLOAT_IMPL_FLOAT)
#endif

// time.ticks_us() and others, counted by a hardware timer.
#undef MICROPY_PY_TIME
#define MICROPY_PY_TIME (1)

// mpremote mount reads from sys.stdin.buffer and waits with select.poll().
#undef MICROPY_PY_SELECT
#define MICROPY_PY_SELECT (1)
#undef MICROPY_PY_SYS_STDIO_BUFFER
#define MICROPY_PY_SYS_STDIO_BUFFER (1)

// Storage (_boot.py, rom.c): /flash, /sd and a ROMFS partition.
#undef MICROPY_VFS_ROM_IOCTL
#define MICROPY_VFS_ROM_IOCTL (1)
#define MICROPY_FATFS_ENABLE_LFN (1)
#define MICROPY_FATFS_RPATH (2)
void board_boot(void);
#define MICROPY_PORT_INIT_FUNC board_boot()

// Hard interrupts (hardtimer.c).
void hardtimer_stop(void);
#define MICROPY_PORT_DEINIT_FUNC hardtimer_stop()
