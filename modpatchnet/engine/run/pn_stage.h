// Carrying out a stage's tasks: lines of maps, rings and windows go through the kernels.
#ifndef PN_STAGE_H
#define PN_STAGE_H

#include "engine/blob/pn_blob.h"
#include "engine/plan/pn_plan.h"

// The tests' checking build follows every byte of the arena; otherwise these are nothing.
#ifdef PN_SHADOW
#include "shadow.h"
#else
#define PN_READ(p, n, tag) ((void)0)
#define PN_WRITE(p, n, tag) ((void)0)
#endif

// What a byte of the arena belongs to: a kind, a layer, and a line of a strip where there are lines.
enum { TAG_MAP = 1, TAG_RING, TAG_WIDE, TAG_WORK, TAG_KEPT, TAG_STAGING, TAG_STATE, TAG_SUMS, TAG_FEATURES, TAG_LOGITS, TAG_CANDIDATES };
#define TAG(m, kind, layer, line) \
    ((uint32_t)(kind) << 28 ^ (uint32_t)(layer) << 20 ^ (uint32_t)(line) ^ (m)->tunnel * 0x9e3779b9u ^ (m)->row * 0x85ebca6bu)
#define MAP_TAG(m, layer) CHAIN_TAG(layer, (m)->tunnel)
#define CHAIN_TAG(layer, tunnel) ((uint32_t)TAG_MAP << 28 ^ (uint32_t)(layer) << 20 ^ (tunnel) * 0x9e3779b9u)
// the stitched map's, as if it were that of the last chain
#define STITCHED_TAG(m) CHAIN_TAG((m)->layers - 1, (m)->tunnels - 1u)

static inline pn_stage_t *pn_stages(const pn_model_t *m) {
    return (pn_stage_t *)(void *)(m->arena + m->segment.state_at);
}

static inline bool pn_first_segment(const pn_model_t *m) {
    return m->segment_index == 0;
}

static inline int32_t *pn_feature_sums(const pn_model_t *m) {
    return (int32_t *)(void *)(m->arena + pn_u32(m->blob + PN_HEADER_SUM_AT));
}

// Where a value of 0 lies, with 8 fraction bits, and the half that rounds.
static inline int32_t pn_zero_q8(int8_t zero_out) {
    return 256 * zero_out + 128;
}

// Channels that a convolution or a fast bottleneck makes of a line at a time, from s->channel on.
static inline uint32_t pn_part_channels(const pn_model_t *m, const pn_stage_t *s) {
    uint32_t left = (s->kind == PN_KIND_CONV ? s->cout : s->cexp) - (uint32_t)s->channel;
    if (pn_grouped_conv(s) || s->mode == PN_MODE_SWEEP) {
        return s->group < left ? s->group : left;
    }
    return m->parted ? m->part.n : left;
}

// A fast stage's shape and its arrays, of a part those that are in memory; places are left empty.
pn_fast_t pn_fast_stage(const pn_model_t *m, const pn_stage_t *s);

// Does the task that pn_next found, or as much of it as can be done now: of a chunk of groups one line of one group, and the channels of a line whose
// weights are in memory. The stage then tells how far it is.
void pn_do(pn_model_t *m, pn_job_t task);

#endif
