// The arena as bytes: taking it, moving within it, and whose they are.
#ifndef PN_ARENA_H
#define PN_ARENA_H

#include "patchnet.h"

// Makes `len` bytes at `arena` the model's. PN_OK, PN_ERR_ARENA, PN_ERR_ALIGN.
int pn_arena_take(pn_model_t *m, void *arena, size_t len);

// memmove, which the engine does without: `n` bytes, the two places being apart but perhaps overlapping.
void pn_arena_move(uint8_t *to, const uint8_t *from, uint32_t n);

// The tests' checking build follows every byte of the arena; otherwise these are nothing.
#ifdef PN_SHADOW
#include "shadow.h"
#else
#define PN_READ(p, n, tag) ((void)0)
#define PN_WRITE(p, n, tag) ((void)0)
#endif

// What a byte of the arena belongs to: a kind, a layer, and a line of a strip where there are lines. TAG_TASK: what the
// task alone knows.
enum {
    TAG_MAP = 1,
    TAG_RING,
    TAG_WIDE,
    TAG_WORK,
    TAG_KEPT,
    TAG_STAGING,
    TAG_STATE,
    TAG_SUMS,
    TAG_FEATURES,
    TAG_LOGITS,
    TAG_TASK,
};
#define TAG(m, kind, layer, line) \
    ((uint32_t)(kind) << 28 ^ (uint32_t)(layer) << 20 ^ (uint32_t)(line) ^ (m)->run.tunnel * 0x9e3779b9u \
        ^ (m)->run.row * 0x85ebca6bu)
#define MAP_TAG(m, layer) CHAIN_TAG(layer, (m)->run.tunnel)
#define CHAIN_TAG(layer, tunnel) ((uint32_t)TAG_MAP << 28 ^ (uint32_t)(layer) << 20 ^ (tunnel) * 0x9e3779b9u)

#endif
