// MicroPython's heap as AddressSanitizer is to see it (`make asan`): blocks that are free, and what lies behind an
// object's last byte, may not be touched. py/gc.c is built with names of its own (mpconfigvariant.mk), and these stand
// in for its functions. It writes zeros to what it hands out, by its memset, and so makes it accessible.
#ifdef __SANITIZE_ADDRESS__

#include <sanitizer/asan_interface.h>
#include <string.h>

#include "py/gc.h"
#include "py/mpstate.h"

void plain_gc_init(void *start, void *end);
void plain_gc_collect_end(void);
void *plain_gc_alloc(size_t n, unsigned int flags);
void plain_gc_free(void *p);
void *plain_gc_realloc(void *p, size_t n, bool allow_move);
void *poison_memset(void *p, int value, size_t n);

void *poison_memset(void *p, int value, size_t n) {
    ASAN_UNPOISON_MEMORY_REGION(p, n);
    return memset(p, value, n);
}

// All blocks that are free.
static void poison_free(void) {
    const mp_state_mem_area_t *area = &MP_STATE_MEM(area);
    size_t bytes = MICROPY_BYTES_PER_GC_BLOCK, blocks = (area->gc_pool_end - area->gc_pool_start) / bytes;
    for (size_t i = 0; i < blocks; i++) {
        if (!(area->gc_alloc_table_start[i / 4] >> 2 * (i % 4) & 3)) {
            ASAN_POISON_MEMORY_REGION(area->gc_pool_start + i * bytes, bytes);
        }
    }
}

// The object of `n` bytes at `p` ends there.
static void *poison_behind(void *p, size_t n) {
    if (p != NULL) {
        ASAN_POISON_MEMORY_REGION((uint8_t *)p + n, gc_nbytes(p) - n);
    }
    return p;
}

void gc_init(void *start, void *end) {
    ASAN_UNPOISON_MEMORY_REGION(start, (uint8_t *)end - (uint8_t *)start);
    plain_gc_init(start, end);
    poison_free();
}

void gc_collect_end(void) {
    plain_gc_collect_end();
    poison_free();
}

void *gc_alloc(size_t n, unsigned int flags) {
    return poison_behind(plain_gc_alloc(n, flags), n);
}

void gc_free(void *p) {
    size_t n = gc_nbytes(p);
    plain_gc_free(p);
    if (n > 0 && gc_nbytes(p) == 0) { // it is none where the collector is locked
        ASAN_POISON_MEMORY_REGION(p, n);
    }
}

void *gc_realloc(void *p, size_t n, bool allow_move) {
    size_t before = gc_nbytes(p);
    ASAN_UNPOISON_MEMORY_REGION(p, before); // it copies whole blocks
    void *now = plain_gc_realloc(p, n, allow_move);
    size_t after = gc_nbytes(p);
    ASAN_POISON_MEMORY_REGION((uint8_t *)p + after, before > after ? before - after : 0);
    return poison_behind(now, n);
}

#endif
