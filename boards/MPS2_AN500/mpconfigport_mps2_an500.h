// The qemu port's configuration with the parts switched on that board.c makes possible.

#include "mpconfigport.h"

// time.ticks_us() and others, counted by a hardware timer.
#undef MICROPY_PY_TIME
#define MICROPY_PY_TIME (1)

// mpremote mount reads from sys.stdin.buffer and waits with select.poll().
#undef MICROPY_PY_SELECT
#define MICROPY_PY_SELECT (1)
#undef MICROPY_PY_SYS_STDIO_BUFFER
#define MICROPY_PY_SYS_STDIO_BUFFER (1)
