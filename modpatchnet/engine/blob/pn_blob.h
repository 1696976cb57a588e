// Reading a blob: bytes to numbers, records to layers. Nothing here checks; pn_open does, with these same functions.
#ifndef PN_BLOB_H
#define PN_BLOB_H

#include "patchnet.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "patchnet: arrays are read where they lie in a blob, little-endian: no such machine"
#endif

// A load or two each, fewer bytes than a call; gcc asked for small code makes the call.
#define PN_INLINE static inline __attribute__((always_inline))

// Not inlined, though it is called but once: jumps over it stay short, or its frame is not on the stack with others.
#define PN_APART __attribute__((noinline))

PN_INLINE uint32_t pn_u16(const uint8_t *p) {
    return p[0] | (uint32_t)p[1] << 8;
}

PN_INLINE uint32_t pn_u32(const uint8_t *p) {
    return pn_u16(p) | pn_u16(p + 2) << 16;
}

// A side of the network's picture or of a map behind the chains.
static inline bool pn_side_ok(uint32_t side) {
    return side >= 1 && side <= PN_MAX_SIDE;
}

// The task's own record.
PN_INLINE const uint8_t *pn_task_record(const pn_model_t *m) {
    return m->blob + pn_u32(m->blob + PN_HEADER_TASK_OFF);
}

// Whether features are concatenated over the chains; else they are summed.
static inline bool pn_concat(const pn_model_t *m) {
    return m->blob[PN_HEADER_AGGREGATE] == PN_AGGREGATE_CONCAT;
}

// Whether the sums of features outlive a chain.
static inline bool pn_lasting_sums(const pn_model_t *m) {
    return m->tunnels > 1 && !pn_concat(m) && m->pools && !pn_merges(m);
}

// Channels of the last map.
static inline uint32_t pn_last_channels(const pn_model_t *m) {
    return m->features / (pn_concat(m) ? m->tunnels : 1u);
}

static inline uint32_t pn_padded(uint32_t bytes) {
    return (bytes + 3) & ~3u;
}

// What lies at `off` in the blob, an array's offset; NULL if it is not in memory.
static inline const uint8_t *pn_array(const pn_model_t *m, uint32_t off) {
    const pn_weights_t *w = &m->weights;
    return w->at == NULL ? NULL : w->at + (off - w->from);
}

// Weights with what follows them. Arrays lie in the blob, aligned, little-endian like every machine that we build for.
typedef struct {
    const int32_t *bias, *mult;
    const int8_t *weight;
} pn_scaled_t;

// The arrays at `p` for `n` outputs and `weights` weights; `*end` is the first byte after them.
static inline pn_scaled_t pn_scaled(const uint8_t *p, uint32_t n, uint32_t weights, const uint8_t **end) {
    pn_scaled_t s = {
        (const int32_t *)(const void *)p,
        (const int32_t *)(const void *)(p + 4 * n),
        (const int8_t *)(p + 8 * n),
    };
    *end = p + 8 * n + pn_padded(weights);
    return s;
}

// The arrays from output `first` on of a convolution or of the fully connected layer at `off`: `n` outputs, `row`
// weights each.
static inline pn_scaled_t pn_scaled_from(const pn_model_t *m, uint32_t off, uint32_t n, uint32_t row, uint32_t first) {
    const uint8_t *end;
    n = m->weights.parted ? m->weights.part.n : n;
    first -= m->weights.parted ? m->weights.part.from : 0;
    pn_scaled_t s = pn_scaled(pn_array(m, off), n, n * row, &end);
    s.bias += first;
    s.mult += first;
    s.weight += first * row;
    return s;
}

// Whether a layer's weights of each two outputs lie in one number each: of a convolution or a block.
static inline bool pn_paired(uint32_t flags) {
    return flags & PN_FLAG_PAIRS;
}

// Whether a layer in this mode runs in the layout of the fast kernels.
static inline bool pn_fast_mode(uint32_t mode) {
    return mode == PN_MODE_FAST || mode == PN_MODE_SWEEP;
}

// Kinds of layers that change how values are stored, and all that keep their input's zero point.
static inline bool pn_casts(uint32_t kind) {
    return kind == PN_KIND_INT4 || kind == PN_KIND_INT8;
}

static inline bool pn_moves(uint32_t kind) {
    return kind == PN_KIND_MAXPOOL || pn_casts(kind);
}

// The record of layer `index`, the same for all chains.
static inline const uint8_t *pn_layer_record(const pn_model_t *m, uint32_t index) {
    return m->blob + pn_u32(m->blob + PN_HEADER_LAYER_OFF) + index * PN_LAYER_BYTES;
}

// The integers of layer `index` of a chain; the layers behind the chains are those of the last one.
static inline const uint8_t *pn_param_record(const pn_model_t *m, uint32_t tunnel, uint32_t index) {
    return m->blob + pn_u32(m->blob + PN_HEADER_PARAM_OFF) + (tunnel * m->layers + index) * PN_PARAM_BYTES;
}

// Where a chain looks: its patch's corner in the picture averaged to height x width.
typedef struct {
    uint16_t y, x, height, width;
} pn_patch_t;
static inline uint32_t pn_patch_bytes(const pn_model_t *m) {
    return m->blob[PN_HEADER_SIZED] ? PN_SIZED_PATCH_BYTES : PN_PATCH_BYTES;
}
void pn_patch_read(const pn_model_t *m, uint32_t tunnel, pn_patch_t *p);

// Fills *l for layer `index` of chain `tunnel`. For index > 0, *l must hold layer index - 1 of the same chain.
void pn_layer_read(const pn_model_t *m, uint32_t tunnel, uint32_t index, pn_layer_t *l);

// Fills *s for segment `index`, but for `columns`, which follows from its last layer's height.
void pn_segment_read(const pn_model_t *m, uint32_t index, pn_segment_t *s);

#endif
