// The checking build for the tests: all that shim.c has, and the arena's shadow.
#include "shadow.h"

#include <stdbool.h>

#include "shim.c"

// What goes over every byte of every run, and is no part of what is tried: clang's sanitizers need not look at it.
#ifdef __clang__
#define UNWATCHED __attribute__((no_sanitize("address", "undefined", "coverage")))
#else
#define UNWATCHED
#endif

// What the first fault was: where in the arena, what the reader expected, what was there. `faults` counts them all.
static struct {
    const uint8_t *arena;
    size_t bytes;
    uint32_t *tags; // one for each byte of the arena, the caller's
    uint32_t faults, at, wanted, found;
} shadow;

// Begins to watch `bytes` at `arena`. `tags` holds a tag that the engine has not for each.
void shadow_begin(const uint8_t *arena, size_t bytes, uint32_t *tags) {
    shadow.arena = arena;
    shadow.bytes = bytes;
    shadow.tags = tags;
    shadow.faults = 0;
}

// How many faults there were; the first one's place in the arena, tag wanted and tag found.
uint32_t shadow_fault(uint32_t *at, uint32_t *wanted, uint32_t *found) {
    *at = shadow.at;
    *wanted = shadow.wanted;
    *found = shadow.found;
    return shadow.faults;
}

static void fault(size_t at, uint32_t wanted, uint32_t found) {
    if (shadow.faults++ == 0) {
        shadow.at = (uint32_t)at;
        shadow.wanted = wanted;
        shadow.found = found;
    }
}

// The first byte's place in the arena, if all are inside.
static bool place(const void *p, size_t n, uint32_t tag, size_t *at) {
    *at = (size_t)((const uint8_t *)p - shadow.arena);
    if (*at > shadow.bytes || n > shadow.bytes - *at) {
        fault(*at, tag, 0);
        return false;
    }
    return true;
}

UNWATCHED void shadow_write(const void *p, size_t n, uint32_t tag) {
    size_t at;
    if (place(p, n, tag, &at)) {
        for (size_t i = 0; i < n; i++) {
            shadow.tags[at + i] = tag;
        }
    }
}

UNWATCHED void shadow_read(const void *p, size_t n, uint32_t tag) {
    size_t at;
    if (!place(p, n, tag, &at)) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (shadow.tags[at + i] != tag) {
            fault(at + i, tag, shadow.tags[at + i]);
            return;
        }
    }
}
