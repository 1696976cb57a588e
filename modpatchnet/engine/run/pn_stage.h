// Carrying out a stage's tasks: lines of maps and rings go through the kernels.
#ifndef PN_STAGE_H
#define PN_STAGE_H

#include "engine/plan/pn_plan.h"

static inline pn_stage_t *pn_stages(const pn_model_t *m) {
    return (pn_stage_t *)(void *)(m->run.arena + m->run.segment.state_at);
}

static inline bool pn_first_segment(const pn_model_t *m) {
    return m->run.segment_index == 0;
}

// A stage's integers, where they stand in the blob.
static inline const uint8_t *pn_stage_param(const pn_model_t *m, const pn_stage_t *s) {
    return pn_param_record(m, m->run.tunnel, s->index);
}

static inline uint32_t pn_weight_off(const pn_model_t *m, const pn_stage_t *s) {
    return pn_u32(pn_stage_param(m, s) + PN_PARAM_WEIGHT_OFF);
}

static inline int32_t pn_res_mult(const pn_model_t *m, const pn_stage_t *s) {
    return (int32_t)pn_u16(pn_stage_param(m, s) + PN_PARAM_RES_MULT);
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
    return m->weights.parted ? m->weights.part.n : left;
}

// A fast stage's shape and its arrays, of a part those that are in memory; places are left empty.
pn_fast_t pn_fast_stage(const pn_model_t *m, const pn_stage_t *s);

// Output line `o` of the segment's last layer that is ready for the task, at `line` until the next step; NULL for none.
typedef struct {
    const int8_t *line;
    uint32_t o;
} pn_made_t;

// Does the job that pn_next found, or as much of it as can be done now: of a chunk of groups one line of one group, and
// the channels of a line whose weights are in memory. The stage then tells how far it is.
pn_made_t pn_job_do(pn_model_t *m, pn_job_t job);

#endif
