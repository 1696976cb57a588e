// Running a checked blob: a state machine that carries out one job of a segment's schedule a step.
#include "patchnet.h"

#include "engine/run/pn_arena.h"
#include "engine/run/pn_image.h"
#include "engine/run/pn_parts.h"
#include "engine/tasks/pn_task.h"

enum { PHASE_LAYERS, PHASE_END, PHASE_DONE };

static void begin_strip(pn_model_t *m, uint32_t top) {
    m->run.row = (uint16_t)top;
    pn_strip_begin(pn_stages(m), &m->run.segment, top);
}

// Brings the map that the segment reads to its place. m->run.layer holds the layer before.
static void move_input(pn_model_t *m) {
    const pn_segment_t *seg = &m->run.segment;
    if (!pn_first_segment(m) && seg->in_at != m->run.map_at) {
        pn_layer_t l = m->run.layer;
        pn_layer_read(m, m->run.tunnel, seg->first, &l);
        uint32_t bytes = (uint32_t)l.h * l.w * l.cin * (pn_floats(m) ? 4u : 1u);
        PN_READ(m->run.arena + m->run.map_at, bytes, MAP_TAG(m, m->run.map_layer));
        pn_arena_move(m->run.arena + seg->in_at, m->run.arena + m->run.map_at, bytes);
        PN_WRITE(m->run.arena + seg->in_at, bytes, MAP_TAG(m, m->run.map_layer));
        m->run.map_at = seg->in_at;
    }
}

// m->run.layer holds the layer before the segment's first.
static void begin_segment(pn_model_t *m, uint32_t index) {
    pn_segment_t *seg = &m->run.segment;
    pn_segment_read(m, index, seg);
    m->run.segment_index = (uint8_t)index;
    move_input(m);
    pn_segment_stages(m, m->run.tunnel, seg, &m->run.layer, pn_stages(m));
    PN_WRITE(m->run.arena + seg->state_at, seg->layers * PN_STATE_BYTES, TAG_STATE);
    if (seg->sink == PN_TO_SUMS) {
        pn_task_segment(m);
    }
    begin_strip(m, 0);
    pn_parts_begin(m, seg->first, seg->layers);
}

static void begin_chain(pn_model_t *m, uint32_t tunnel) {
    m->run.tunnel = (uint8_t)tunnel;
    m->run.image.data = m->run.windowed ? NULL : m->run.image.data;
    begin_segment(m, 0);
}

// The next channels of a last convolution that runs in groups. False if there are none.
static bool next_channels(pn_model_t *m) {
    pn_stage_t *s = pn_stages(m);
    if (!pn_grouped_conv(s)) {
        return false;
    }
    uint32_t left = s->cout - (uint32_t)s->channel, n = left < s->group ? left : s->group;
    pn_task_channels(m, s, n);
    s->done = 0;
    s->channel = (uint16_t)(s->channel + n);
    return left > n;
}

// After the layers: what is left to do.
static void end_layers(pn_model_t *m, uint8_t phase) {
    m->run.phase = phase;
    m->run.index = m->all_layers;
    m->run.row = 0;
}

static void end_chain(pn_model_t *m) {
    bool behind = m->run.segment_index + 1u > m->segments;
    pn_task_chain(m);
    if (m->run.tunnel + 1 < m->tunnels) {
        begin_chain(m, m->run.tunnel + 1u);
    } else if (m->all_segments > m->segments && !behind) {
        begin_segment(m, m->segments);
    } else {
        end_layers(m, PHASE_END);
        if (m->dense) {
            pn_parts_begin(m, 0, 0);
        }
    }
}

static void end_segment(pn_model_t *m) {
    uint32_t next = m->run.segment_index + 1u;
    if (m->run.segment.sink == PN_TO_MAP) {
        m->run.map_at = m->run.segment.out_at;
        m->run.map_layer = m->run.layer.index;
    }
    if (next == m->segments || (next == m->all_segments && m->pools)) {
        end_chain(m);
    } else if (next < m->all_segments) {
        begin_segment(m, next);
    } else {
        end_layers(m, PHASE_DONE);
    }
}

// The strip is done: the next one, or segment.
static void next_strip(pn_model_t *m) {
    uint32_t bottom = (uint32_t)m->run.row + m->run.segment.strip;
    if (next_channels(m)) {
        return;
    }
    if (m->run.segment.columns && bottom < m->run.layer.oh) {
        begin_strip(m, bottom);
    } else {
        end_segment(m);
    }
}

// Finds the next job.
static void schedule(pn_model_t *m) {
    m->run.job = pn_next(pn_stages(m), m->run.segment.layers, pn_first_segment(m));
    while (m->run.job.action == PN_STRIP_DONE) {
        next_strip(m);
        if (m->run.phase != PHASE_LAYERS) {
            return;
        }
        m->run.job = pn_next(pn_stages(m), m->run.segment.layers, pn_first_segment(m));
    }
    m->run.index = (uint8_t)(m->run.segment.first + m->run.job.stage);
}

static int start(pn_model_t *m, void *arena, size_t len) {
    int err = pn_arena_take(m, arena, len);
    if (err) {
        return err;
    }
    m->run.phase = PHASE_LAYERS;
    pn_task_begin(m);
    begin_chain(m, 0);
    schedule(m);
    return PN_OK;
}

int pn_start(pn_model_t *m, void *arena, size_t len, const pn_image_t *image) {
    m->run.raw = NULL;
    m->run.image = *image;
    m->run.image.left = m->run.image.top = 0;
    m->run.windowed = image->data == NULL;
    if (!pn_sees(m)) {
        return PN_ERR_PIXFMT;
    }
    int err = pn_image_prepare(&m->run.image, m->height, m->width, m->blob[PN_HEADER_FIT] == PN_FIT_CROP);
    return err ? err : start(m, arena, len);
}

int pn_start_raw(pn_model_t *m, void *arena, size_t len, const int8_t *x) {
    m->run.raw = x;
    m->run.image.roi_x = m->run.image.roi_y = 0; // for boxes
    m->run.image.roi_w = m->width;
    m->run.image.roi_h = m->height;
    return start(m, arena, len);
}

// The source pixels under `n` of `side` output pixels, of which the first is `corner`.
static void cover(uint32_t corner, uint32_t n, uint32_t side, uint32_t size, uint32_t *at, uint32_t *pixels) {
    uint32_t from = corner * size / side;
    *at += from;
    *pixels = ((corner + n) * size + side - 1) / side - from;
}

void pn_window(const pn_model_t *m, pn_window_t *w) {
    pn_patch_t patch;
    pn_patch_read(m, m->run.tunnel, &patch);
    w->x = m->run.image.roi_x;
    w->y = m->run.image.roi_y;
    cover(patch.x, m->patch_w, patch.width, m->run.image.roi_w, &w->x, &w->w);
    cover(patch.y, m->patch_h, patch.height, m->run.image.roi_h, &w->y, &w->h);
}

int pn_give(pn_model_t *m, const uint8_t *data, pn_pixfmt_t format) {
    pn_window_t w;
    pn_window(m, &w);
    m->run.image.data = data;
    m->run.image.left = w.x;
    m->run.image.top = w.y;
    m->run.image.w = w.w;
    m->run.image.format = format;
    return format < PN_GRAYSCALE || format > PN_RGB888 ? PN_ERR_PIXFMT : PN_OK;
}

uint32_t pn_state(const pn_model_t *m) {
    const uint32_t *at = (const uint32_t *)(const void *)pn_stages(m);
    uint32_t n = m->run.phase == PHASE_LAYERS ? m->run.segment.layers * PN_STATE_BYTES / 4u : 0, sum = 0;
    for (; n > 0; n--) {
        sum = (sum << 1 | sum >> 31) ^ *at++;
    }
    return sum;
}

void pn_release(pn_model_t *m) {
    m->run.raw = NULL;
    m->run.image.data = NULL;
    pn_task_release(m);
}

// One job, and what the task makes of the line that is ready then.
static void layers_step(pn_model_t *m) {
    const pn_stage_t *s = &pn_stages(m)[m->run.job.stage];
    pn_made_t made = pn_job_do(m, m->run.job);
    if (made.line != NULL) {
        pn_task_line(m, s, made.o, made.line);
    }
    schedule(m);
}

int pn_step(pn_model_t *m) {
    if (m->run.phase == PHASE_DONE) {
        return PN_OK;
    }
    int err = m->weights.buffer == NULL ? PN_OK : pn_parts_ready(m, m->run.phase == PHASE_END);
    if (err != PN_OK) {
        return err;
    }
    if (m->run.phase == PHASE_LAYERS && m->run.raw == NULL && m->run.image.data == NULL) {
        return PN_WINDOW;
    }
    if (m->run.phase == PHASE_LAYERS) {
        layers_step(m);
    } else if (pn_task_step(m)) {
        m->run.phase = PHASE_DONE;
    }
    return m->run.phase == PHASE_DONE ? PN_OK : PN_MORE;
}
