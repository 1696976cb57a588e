// The unix port as patchnet's tests want it: as close to a board as it can be.

#define MICROPY_CONFIG_ROM_LEVEL (MICROPY_CONFIG_ROM_LEVEL_EXTRA_FEATURES)

#include "variants/mpconfigvariant_common.h"

// Ctrl-C is scheduled, as on a board. The port's own way jumps out of the signal handler,
// which would leave an inference in the middle of a step.
#undef MICROPY_ASYNC_KBD_INTR
#define MICROPY_ASYNC_KBD_INTR (0)
