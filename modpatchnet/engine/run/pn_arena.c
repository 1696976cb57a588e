#include "engine/run/pn_arena.h"

#include <string.h>

int pn_arena_take(pn_model_t *m, void *arena, size_t len) {
    if (len < m->arena_bytes) {
        return PN_ERR_ARENA;
    }
    if ((uintptr_t)arena % PN_ARENA_ALIGN != 0) {
        return PN_ERR_ALIGN;
    }
    m->run.arena = arena;
    return PN_OK;
}

// Pieces as long as the two places are apart do not overlap.
void pn_arena_move(uint8_t *to, const uint8_t *from, uint32_t n) {
    uint32_t apart = (uint32_t)(to < from ? from - to : to - from), part;
    for (uint32_t done = 0; done < n; done += part) {
        part = n - done < apart ? n - done : apart;
        uint32_t at = to < from ? done : n - done - part;
        memcpy(to + at, from + at, part);
    }
}
