// Running a checked blob: a state machine that carries out one task of a segment's schedule a step.
#include "patchnet.h"

#include <string.h>

#include "engine/tasks/pn_detect.h"
#include "engine/run/pn_image.h"
#include "engine/kernels/pn_kernels.h"
#include "engine/run/pn_move.h"
#include "engine/run/pn_parts.h"
#include "engine/kernels/pn_round.h"
#include "engine/run/pn_stage.h"

enum { PHASE_CHAIN, PHASE_FC, PHASE_DONE };

// Outputs of the fully connected layer in one step.
#define FC_OUTPUTS 16

static uint32_t header(const pn_model_t *m, int field) {
    return pn_u32(m->blob + field);
}

static void clear_sums(const pn_model_t *m, uint32_t n) {
    memset(pn_feature_sums(m), 0, 4 * (size_t)n);
    PN_WRITE(pn_feature_sums(m), 4 * n, TAG_SUMS);
}

// Turns sums into features first..first+n-1 of the current chain, or of all if those are summed.
static void end_features(pn_model_t *m, const int32_t *sums, uint32_t first, uint32_t n) {
    const uint8_t *b = m->blob;
    int8_t *out = (int8_t *)m->arena + header(m, PN_HEADER_FEATURE_AT) + first;
    out += pn_concat(m) ? m->tunnel * pn_last_channels(m) : 0;
    int32_t mult = (int32_t)header(m, PN_HEADER_POOL_MULT), zero = pn_zero_q8((int8_t)b[PN_HEADER_POOL_ZERO]);
    PN_WRITE(out, n, TAG_FEATURES);
    PN_READ(sums, 4 * n, TAG_SUMS);
    for (uint32_t c = 0; c < n; c++) {
        out[c] = pn_narrow_end(pn_narrow_q8(sums[c], b[PN_HEADER_POOL_SHIFT], mult) + zero);
    }
}

static void fc_step(pn_model_t *m) {
    const uint8_t *b = m->blob;
    const int8_t *x = (const int8_t *)m->arena + header(m, PN_HEADER_FEATURE_AT);
    int16_t *out = (int16_t *)(void *)(m->arena + header(m, PN_HEADER_LOGIT_AT));
    pn_scaled_t s = pn_scaled_from(m, header(m, PN_HEADER_FC_OFF), m->classes, m->features, m->row);
    int32_t zero = 256 * (int8_t)b[PN_HEADER_FC_ZERO];
    uint32_t end = m->parted ? (uint32_t)m->part.from + m->part.n : m->classes, n = end - m->row < FC_OUTPUTS ? end - m->row : FC_OUTPUTS;
    out += m->row;
    PN_WRITE(out, 2 * n, TAG_LOGITS);
    PN_READ(x, m->features, TAG_FEATURES);
    for (uint32_t i = 0; i < n; i++) {
        int32_t acc = pn_dot(x, s.weight + i * m->features, (int)m->features, s.bias[i]);
        out[i] = (int16_t)pn_clamp(pn_narrow_q8(acc, b[PN_HEADER_FC_SHIFT], s.mult[i]) + zero, INT16_MIN, INT16_MAX);
    }
    m->row = (uint16_t)(m->row + n);
    if (m->row == m->classes) {
        m->phase = PHASE_DONE;
    }
}

static void begin_strip(pn_model_t *m, uint32_t top) {
    m->row = (uint16_t)top;
    pn_strip_begin(pn_stages(m), &m->segment, top);
}

// Pieces as long as the two places are apart do not overlap.
void pn_move(uint8_t *to, const uint8_t *from, uint32_t n) {
    uint32_t apart = (uint32_t)(to < from ? from - to : to - from), part;
    for (uint32_t done = 0; done < n; done += part) {
        part = n - done < apart ? n - done : apart;
        uint32_t at = to < from ? done : n - done - part;
        memcpy(to + at, from + at, part);
    }
}

// Brings the map that the segment reads to its place. m->layer holds the layer before.
static void move_input(pn_model_t *m) {
    const pn_segment_t *seg = &m->segment;
    if (!pn_first_segment(m) && seg->in_at != m->map_at) {
        pn_layer_t l = m->layer;
        pn_layer_read(m, m->tunnel, seg->first, &l);
        uint32_t bytes = (uint32_t)l.h * l.w * l.cin;
        PN_READ(m->arena + m->map_at, bytes, MAP_TAG(m, m->map_layer));
        pn_move(m->arena + seg->in_at, m->arena + m->map_at, bytes);
        PN_WRITE(m->arena + seg->in_at, bytes, MAP_TAG(m, m->map_layer));
        m->map_at = seg->in_at;
    }
}

// m->layer holds the layer before the segment's first.
static void begin_segment(pn_model_t *m, uint32_t index) {
    pn_segment_t *seg = &m->segment;
    pn_segment_read(m, index, seg);
    m->segment_index = (uint8_t)index;
    move_input(m);
    pn_segment_stages(m, m->tunnel, seg, &m->layer, pn_stages(m));
    PN_WRITE(m->arena + seg->state_at, seg->layers * PN_STATE_BYTES, TAG_STATE);
    if (seg->sink == PN_TO_POOL && !pn_lasting_sums(m)) {
        clear_sums(m, pn_grouped_conv(pn_stages(m)) ? m->layer.group : m->layer.cout);
    }
    begin_strip(m, 0);
    pn_parts_begin(m, seg->first, seg->layers);
}

static void begin_chain(pn_model_t *m, uint32_t tunnel) {
    m->tunnel = (uint8_t)tunnel;
    m->image.data = m->windowed ? NULL : m->image.data;
    begin_segment(m, 0);
}

// The next channels of a last convolution that runs in groups. False if there are none.
static bool next_channels(pn_model_t *m) {
    pn_stage_t *s = pn_stages(m);
    if (!pn_grouped_conv(s)) {
        return false;
    }
    uint32_t left = s->cout - (uint32_t)s->channel, n = left < s->group ? left : s->group;
    if (!pn_lasting_sums(m)) {
        end_features(m, pn_feature_sums(m), s->channel, n);
        clear_sums(m, n);
    }
    s->done = 0;
    s->channel = (uint16_t)(s->channel + n);
    return left > n;
}

// After the layers: what is left to do.
static void end_layers(pn_model_t *m, uint8_t phase) {
    m->phase = phase;
    m->index = m->all_layers;
    m->row = 0;
}

static void end_chain(pn_model_t *m) {
    const pn_stage_t *s = pn_stages(m);
    bool grouped = pn_grouped_conv(s), last = m->tunnel + 1 == m->tunnels, detects = pn_detects(m);
    if (!detects && (pn_lasting_sums(m) ? last : !grouped)) {
        end_features(m, pn_feature_sums(m), 0, pn_last_channels(m));
    }
    if (!last) {
        begin_chain(m, m->tunnel + 1u);
    } else if (detects) {
        m->map_at = pn_u32(pn_task_record(m) + PN_DETECT_STITCH_AT);
        m->map_layer = (uint8_t)(m->layers - 1);
        begin_segment(m, m->segments);
    } else {
        end_layers(m, PHASE_FC);
        pn_parts_begin(m, 0, 0);
    }
}

static void end_segment(pn_model_t *m) {
    uint32_t next = m->segment_index + 1u;
    if (m->segment.sink == PN_TO_MAP) {
        m->map_at = m->segment.out_at;
        m->map_layer = m->layer.index;
    }
    m->scale = (uint8_t)(m->scale + (m->segment.sink == PN_TO_CANDIDATES));
    if (next == m->segments) {
        end_chain(m);
    } else if (next < m->all_segments) {
        begin_segment(m, next);
    } else {
        end_layers(m, PHASE_DONE);
    }
}

// The strip is done: the next one, or segment.
static void next_strip(pn_model_t *m) {
    uint32_t bottom = (uint32_t)m->row + m->segment.strip;
    if (next_channels(m)) {
        return;
    }
    if (m->segment.columns && bottom < m->layer.oh) {
        begin_strip(m, bottom);
    } else {
        end_segment(m);
    }
}

// Finds the next task.
static void schedule(pn_model_t *m) {
    m->task = pn_next(pn_stages(m), m->segment.layers, pn_first_segment(m));
    while (m->task.action == PN_STRIP_DONE) {
        next_strip(m);
        if (m->phase != PHASE_CHAIN) {
            return;
        }
        m->task = pn_next(pn_stages(m), m->segment.layers, pn_first_segment(m));
    }
    m->index = (uint8_t)(m->segment.first + m->task.stage);
}

int pn_take_arena(pn_model_t *m, void *arena, size_t len) {
    if (len < m->arena_bytes) {
        return PN_ERR_ARENA;
    }
    if ((uintptr_t)arena % PN_ARENA_ALIGN != 0) {
        return PN_ERR_ALIGN;
    }
    m->arena = arena;
    return PN_OK;
}

static int start(pn_model_t *m, void *arena, size_t len) {
    int err = pn_take_arena(m, arena, len);
    if (err) {
        return err;
    }
    m->phase = PHASE_CHAIN;
    if (pn_lasting_sums(m)) {
        clear_sums(m, m->features);
    }
    if (pn_detects(m)) {
        pn_detect_begin(m);
    }
    begin_chain(m, 0);
    schedule(m);
    return PN_OK;
}

int pn_start(pn_model_t *m, void *arena, size_t len, const pn_image_t *image) {
    m->raw = NULL;
    m->image = *image;
    m->image.left = m->image.top = 0;
    m->windowed = image->data == NULL;
    int err = pn_image_prepare(&m->image, m->height, m->width, m->blob[PN_HEADER_FIT] == PN_FIT_CROP);
    return err ? err : start(m, arena, len);
}

int pn_start_raw(pn_model_t *m, void *arena, size_t len, const int8_t *x) {
    m->raw = x;
    m->image.roi_x = m->image.roi_y = 0; // for boxes
    m->image.roi_w = m->width;
    m->image.roi_h = m->height;
    return start(m, arena, len);
}

// The source pixels under `n` of `side` output pixels, of which the first is `corner`.
static void cover(uint32_t corner, uint32_t n, uint32_t side, uint32_t size, uint32_t *at, uint32_t *pixels) {
    uint32_t from = corner * size / side;
    *at += from;
    *pixels = ((corner + n) * size + side - 1) / side - from;
}

void pn_window(const pn_model_t *m, pn_window_t *w) {
    const uint8_t *patch = m->blob + header(m, PN_HEADER_PATCH_OFF) + m->tunnel * PN_PATCH_BYTES;
    w->x = m->image.roi_x;
    w->y = m->image.roi_y;
    cover(pn_u16(patch + PN_PATCH_X), m->patch_w, m->width, m->image.roi_w, &w->x, &w->w);
    cover(pn_u16(patch + PN_PATCH_Y), m->patch_h, m->height, m->image.roi_h, &w->y, &w->h);
}

int pn_give(pn_model_t *m, const uint8_t *data, pn_pixfmt_t format) {
    pn_window_t w;
    pn_window(m, &w);
    m->image.data = data;
    m->image.left = w.x;
    m->image.top = w.y;
    m->image.w = w.w;
    m->image.format = format;
    return format < PN_GRAYSCALE || format > PN_RGB888 ? PN_ERR_PIXFMT : PN_OK;
}

int pn_step(pn_model_t *m) {
    if (m->phase == PHASE_DONE) {
        return PN_OK;
    }
    int err = m->buffer == NULL ? PN_OK : pn_parts_ready(m, m->phase == PHASE_FC);
    if (err != PN_OK) {
        return err;
    }
    if (m->phase == PHASE_CHAIN && m->raw == NULL && m->image.data == NULL) {
        return PN_WINDOW;
    }
    if (m->phase == PHASE_CHAIN) {
        pn_do(m, m->task);
        schedule(m);
    } else if (m->phase == PHASE_FC) {
        fc_step(m);
    }
    return m->phase == PHASE_DONE ? PN_OK : PN_MORE;
}
