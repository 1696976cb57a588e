// Rows and columns of maps and rings, and which kernels go over them.
#include "engine/run/pn_stage.h"

#include <string.h>

#include "engine/kernels/pn_float.h"
#include "engine/kernels/pn_round.h"
#include "engine/run/pn_arena.h"
#include "engine/run/pn_image.h"

// one unit with these: with functions that are external the code is 500 bytes larger
#include "engine/run/pn_stage_places.h"
#include "engine/run/pn_stage_conv.h"
#include "engine/run/pn_stage_pool.h"
#include "engine/run/pn_stage_cast.h"
#include "engine/run/pn_stage_bottleneck.h"
#include "engine/run/pn_stage_block.h"
#include "engine/run/pn_stage_fast.h"
#include "engine/run/pn_stage_float.h"

// Output line `o` of a stage is there: tells it if it is the task's.
static void made(const pn_model_t *m, const pn_stage_t *s, uint32_t o, pn_made_t *out) {
    if (m->run.segment.sink != PN_TO_MAP && ends_segment(m, s)) {
        out->line = line_out(m, s, o).at;
        out->o = o;
    }
}

static void group_step(pn_model_t *m, pn_stage_t *s, uint32_t end, pn_made_t *out) {
    if (s->channel == 0 && s->line <= s->done) {
        s->line = s->done;
        s->fresh = 0;
    }
    if (s->mode == PN_MODE_SWEEP) {
        fast_first(m, s, s->line);
        sweep_line(m, s);
    } else if (pn_floats(m)) {
        float_group_line(m, s);
    } else {
        group_line(m, s);
    }
    bool last = s->cexp - s->channel <= s->group;
    if (last) {
        made(m, s, s->line, out);
    }
    if (++s->line < end) {
        return;
    }
    s->fresh = 0;
    s->channel = (uint16_t)(last ? 0 : s->channel + s->group);
    s->line = s->done;
    if (last) {
        s->done = (uint16_t)end;
    }
}

// Whether all channels of a line are done now, and not only those whose weights were there.
static bool all_channels(const pn_model_t *m, pn_stage_t *s) {
    if (!m->weights.parted || pn_grouped_conv(s) || pn_floats(m)) {
        return true;
    }
    s->channel = (uint16_t)(s->channel + pn_part_channels(m, s));
    if (s->channel < (s->kind == PN_KIND_CONV ? s->cout : s->cexp)) {
        return false;
    }
    s->channel = 0;
    return true;
}

// Makes output line s->done, or the channels of it whose weights are there.
static void make_line(pn_model_t *m, pn_stage_t *s) {
    bool covers = s->mode == PN_MODE_COVER;
    switch (s->kind) {
        case PN_KIND_CONV:
            if (covers) {
                cover_end(m, s);
            } else {
                conv_line(m, s, s->done);
            }
            break;
        case PN_KIND_BOTTLENECK:
            if (pn_is_fast(s)) {
                fast_first(m, s, s->done);
                fast_line(m, s, s->done);
            } else {
                whole_line(m, s, s->done);
            }
            break;
        case PN_KIND_BLOCK:
            block_line(m, s, s->done);
            break;
        case PN_KIND_INT4:
        case PN_KIND_INT8:
            cast_line(m, s, s->done);
            break;
        default:
            if (covers) {
                pool_cover_end(m, s);
            } else {
                pool_line(m, s, s->done);
            }
    }
}

static void chunk_step(pn_model_t *m, pn_stage_t *s, uint32_t end, pn_made_t *out) {
    if (s->kind == PN_KIND_BOTTLENECK && pn_in_groups(s)) {
        group_step(m, s, end, out);
        return;
    }
    if (pn_floats(m)) {
        float_make_line(m, s);
    } else {
        make_line(m, s);
    }
    if (all_channels(m, s)) {
        read_again(m, s, s->done);
        made(m, s, s->done, out);
        s->done = (uint16_t)end;
    }
}

static void sample_line(pn_model_t *m, uint32_t y) {
    const pn_stage_t *s = pn_stages(m);
    uint32_t bytes = pn_pixels_in(s) * s->cin;
    int8_t *out = (int8_t *)m->run.arena + s->ring_at + (size_t)(y % s->ring_lines) * bytes;
    sample(m, y, s->from, pn_pixels_in(s), out);
    PN_WRITE(out, bytes, TAG(m, TAG_RING, s->index, y));
}

// Takes in input line `y` by itself, of a block the line between its convolutions, or the channels whose weights are
// there. The picture's a kernel that is the whole of it samples first.
static void take_line(pn_model_t *m, const pn_stage_t *s, uint32_t y) {
    if (s->index == 0 && s->channel == 0) {
        sample_line(m, y);
    }
    if (pn_floats(m)) {
        float_take_line(m, s, y);
    } else if (pn_is_fast(s)) {
        fast_take(m, s, y);
    } else if (s->kind == PN_KIND_CONV) {
        cover_line(m, s, y);
    } else if (s->kind == PN_KIND_BLOCK) {
        block_middle(m, s, y);
    } else if (s->kind == PN_KIND_BOTTLENECK) {
        expand_line(m, s, y);
    } else {
        pool_cover_line(m, s, y);
    }
}

pn_made_t pn_job_do(pn_model_t *m, pn_job_t job) {
    pn_stage_t *s = &pn_stages(m)[job.stage];
    pn_made_t out = { NULL, 0 };
    PN_READ(m->run.arena + m->run.segment.state_at, m->run.segment.layers * PN_STATE_BYTES, TAG_STATE);
    if (job.action == PN_CHUNK) {
        chunk_step(m, s, job.end, &out);
        return out;
    }
    uint32_t y = pn_fresh_line(s, job.end);
    if (job.action == PN_SAMPLE) {
        sample_line(m, y);
    } else {
        take_line(m, s, y);
    }
    if (job.action == PN_SAMPLE || !(pn_is_fast(s) || s->kind == PN_KIND_CONV) || all_channels(m, s)) {
        s->fresh = (uint16_t)(y + 1);
    }
    return out;
}
