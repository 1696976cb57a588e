// Included before all else of py/gc.c in the build under sanitizers, where its names are other ones: see poison.c. The
// collector may read all.
#include <string.h>

void *poison_memset(void *p, int value, size_t n);
#define memset poison_memset
