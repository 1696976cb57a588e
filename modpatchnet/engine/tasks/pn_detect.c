#include "engine/tasks/pn_detect.h"

#ifndef PN_NO_DETECT

#include <string.h>

#include "engine/blob/pn_container.h"
#include "engine/kernels/pn_round.h"
#include "engine/run/pn_arena.h"

// A candidate in the arena: corners in 1/32768 of the picture, class, the class's value.
typedef struct {
    uint16_t x0, y0, x1, y1, label;
    int16_t value;
} pn_candidate_t;

// refuses to compile if a candidate outgrows its place in the arena
typedef char pn_candidate_size[sizeof(pn_candidate_t) == PN_CANDIDATE_BYTES ? 1 : -1];

#define WHOLE 32768 // a side of the picture

PN_INLINE uint32_t record(const pn_model_t *m, int field) {
    return pn_u32(pn_task_record(m) + field);
}

PN_INLINE uint32_t record16(const pn_model_t *m, int field) {
    return pn_u16(pn_task_record(m) + field);
}

// the stitched map's, as if it were that of the last chain
#define STITCHED_TAG(m) CHAIN_TAG((m)->layers - 1, (m)->tunnels - 1u)

static pn_candidate_t *candidates(const pn_model_t *m) {
    return (pn_candidate_t *)(void *)(m->run.arena + record(m, PN_DETECT_CANDIDATE_AT));
}

// ---------------------------------------------------------------- opening

int pn_detect_read(pn_model_t *m) {
    if (!pn_in_prefix(m, pn_u32(m->blob + PN_HEADER_TASK_OFF), PN_DETECT_BYTES)) {
        return PN_ERR_TASK;
    }
    const uint8_t *r = pn_task_record(m);
    uint32_t layers = r[PN_DETECT_LAYERS], segments = r[PN_DETECT_SEGMENTS], top = pn_u16(r + PN_DETECT_TOP);
    m->map_h = (uint16_t)pn_u16(r + PN_DETECT_MAP_H);
    m->map_w = (uint16_t)pn_u16(r + PN_DETECT_MAP_W);
    m->all_layers = (uint8_t)(m->layers + layers);
    m->all_segments = (uint8_t)(m->segments + segments);
    m->state.detecting.outputs = NULL;
    m->state.detecting.lowest = INT8_MAX + 1;
    bool ok = pn_side_ok(m->map_h) && pn_side_ok(m->map_w) && m->layers + layers <= PN_MAX_LAYERS && segments >= 1
        && segments <= layers && top >= 1 && top <= PN_MAX_TOP && !pn_concat(m)
        && pn_in_prefix(m, pn_u32(r + PN_DETECT_PLACE_OFF), (uint32_t)m->tunnels * PN_PLACE_BYTES)
        && pn_in_prefix(m, pn_u32(r + PN_DETECT_SCALE_OFF), pn_u16(r + PN_DETECT_SCALES) * PN_SCALE_BYTES);
    return ok ? PN_OK : PN_ERR_TASK;
}

// Whether the part of each chain's map that goes to the stitched map lies in both.
static bool places_ok(const pn_model_t *m, const pn_layer_t *l) {
    const uint8_t *p = m->blob + record(m, PN_DETECT_PLACE_OFF);
    bool ok = true;
    for (uint32_t i = 0; i < m->tunnels; i++, p += PN_PLACE_BYTES) {
        uint32_t h = pn_u16(p + PN_PLACE_H), w = pn_u16(p + PN_PLACE_W);
        ok = ok && pn_u16(p + PN_PLACE_FROM_Y) + h <= l->oh && pn_u16(p + PN_PLACE_TO_Y) + h <= m->map_h
            && pn_u16(p + PN_PLACE_FROM_X) + w <= l->ow && pn_u16(p + PN_PLACE_TO_X) + w <= m->map_w;
    }
    return ok;
}

// A head's scale: its anchors and the outputs that they make.
static bool scale_ok(pn_model_t *m, uint32_t index, const pn_layer_t *l) {
    const uint8_t *r = pn_task_record(m), *s = m->blob + pn_u32(r + PN_DETECT_SCALE_OFF) + index * PN_SCALE_BYTES;
    if (index >= pn_u16(r + PN_DETECT_SCALES)) {
        return false;
    }
    uint64_t anchors = pn_u32(s + PN_SCALE_ANCHORS), outputs = m->outputs + (uint64_t)l->oh * l->ow * l->cout;
    m->outputs = (uint32_t)outputs;
    return anchors * (4u + m->classes) == l->cout && outputs <= INT32_MAX
        && pn_in_prefix(m, pn_u32(s + PN_SCALE_ANCHOR_OFF), (uint32_t)anchors * PN_ANCHOR_BYTES);
}

int pn_detect_layer(pn_model_t *m, const pn_layer_t *l) {
    pn_detecting_t *d = &m->state.detecting;
    if (l->index + 1 == m->layers) {
        m->outputs = d->scale = 0; // counts the heads
        return places_ok(m, l) ? PN_OK : PN_ERR_TASK;
    }
    bool head = l->flags & PN_FLAG_HEAD;
    if (head && (pn_merges(m) || !scale_ok(m, d->scale++, l))) {
        return PN_ERR_TASK;
    }
    if (l->index + 1 < m->all_layers || (head && d->scale == pn_u16(pn_task_record(m) + PN_DETECT_SCALES))) {
        return PN_OK;
    }
    m->fault_layer = PN_NO_LAYER;
    return PN_ERR_TASK;
}

static uint64_t stitched_bytes(const pn_model_t *m) {
    return (uint64_t)m->map_h * m->map_w * pn_u16(pn_layer_record(m, m->layers - 1u) + PN_LAYER_COUT);
}

// The stitched map is alive until the chains end, the candidates from then on.
void pn_detect_room(const pn_model_t *m, pn_room_t *room) {
    uint64_t map = stitched_bytes(m);
    uint64_t list = (uint64_t)pn_u16(pn_task_record(m) + PN_DETECT_TOP) * PN_CANDIDATE_BYTES;
    room->n = pn_merges(m) ? room->n : 0;
    room->lasting[room->n++] = (pn_lasting_t) { record(m, PN_DETECT_STITCH_AT), 1, map, 0, m->segments };
    if (pn_merges(m)) {
        return;
    }
    room->lasting[room->n++] = (pn_lasting_t) { record(m, PN_DETECT_CANDIDATE_AT), 4, list, m->segments,
        m->all_segments };
}

int16_t pn_detect_zero(const pn_model_t *m) {
    return (int16_t)record16(m, PN_DETECT_CLS_ZERO);
}

// ---------------------------------------------------------------- the stitched map

// The zero point that all chains end with.
static int8_t stitched_zero(const pn_model_t *m) {
    const uint8_t *last = m->blob + pn_u32(m->blob + PN_HEADER_PARAM_OFF) + (m->layers - 1) * PN_PARAM_BYTES;
    return (int8_t)last[PN_PARAM_ZERO_OUT];
}

void pn_detect_begin(pn_model_t *m) {
    uint8_t *map = m->run.arena + record(m, PN_DETECT_STITCH_AT);
    size_t bytes = (size_t)stitched_bytes(m);
    memset(map, stitched_zero(m), bytes);
    PN_WRITE(map, bytes, STITCHED_TAG(m));
    pn_detecting_t *d = &m->state.detecting;
    d->candidates = 0;
    d->scale = 0;
    d->outputs_done = 0;
    d->least = d->lowest;
}

// Adds the part of line `o` of a chain's last map that counts to the stitched map.
static void stitch_line(const pn_model_t *m, const pn_stage_t *s, uint32_t o, const int8_t *line) {
    const uint8_t *p = m->blob + record(m, PN_DETECT_PLACE_OFF) + m->run.tunnel * PN_PLACE_BYTES;
    int8_t *map = (int8_t *)m->run.arena + record(m, PN_DETECT_STITCH_AT);
    for (uint32_t i = s->out_from; i < s->out_to; i++, line += s->cout) {
        // above or left of the part: very large
        uint32_t y = (m->run.segment.columns ? i : o) - pn_u16(p + PN_PLACE_FROM_Y);
        uint32_t x = (m->run.segment.columns ? o : i) - pn_u16(p + PN_PLACE_FROM_X);
        if (y >= pn_u16(p + PN_PLACE_H) || x >= pn_u16(p + PN_PLACE_W)) {
            continue;
        }
        int8_t *to = map
            + ((size_t)(y + pn_u16(p + PN_PLACE_TO_Y)) * m->map_w + x + pn_u16(p + PN_PLACE_TO_X)) * s->cout;
        PN_READ(to, s->cout, STITCHED_TAG(m));
        for (uint32_t c = 0; c < s->cout; c++) {
            to[c] = (int8_t)pn_clamp(to[c] + line[c] - s->zero_out, -128, 127);
        }
        PN_WRITE(to, s->cout, STITCHED_TAG(m));
    }
}

void pn_detect_chain(pn_model_t *m) {
    m->run.map_at = record(m, PN_DETECT_STITCH_AT);
    m->run.map_layer = (uint8_t)(m->layers - 1);
}

// ---------------------------------------------------------------- candidates

// Of a class's value, of 65536.
static uint32_t score(const pn_model_t *m, int32_t value) {
    return pn_sigmoid(value - pn_detect_zero(m), record(m, PN_DETECT_CLS_MULT));
}

void pn_detect_prepare(pn_model_t *m, uint32_t threshold, int8_t *outputs) {
    pn_detecting_t *d = &m->state.detecting;
    d->outputs = outputs;
    d->lowest = -128;
    while (d->lowest < 128 && score(m, d->lowest) < threshold) {
        d->lowest++;
    }
    d->least = d->lowest;
}

void pn_detect_release(pn_model_t *m) {
    m->state.detecting.outputs = NULL;
}

// An anchor's side as its code says, at most 65535.
static uint32_t size_of(uint32_t side, int32_t code, uint32_t mult) {
    uint64_t t = (uint64_t)(code < 0 ? -code : code) * mult >> 8, up = code < 0 ? 0 : (t + 65535) >> 16;
    if (up > 15) {
        return UINT16_MAX;
    }
    uint64_t size = (side * pn_exp2_neg(code < 0 ? t : (up << 16) - t) << up) >> 30;
    return size > UINT16_MAX ? UINT16_MAX : (uint32_t)size;
}

// Along one axis: from the cell's position, the anchor's side and the codes of centre and size to the box's ends. What is
// far outside the picture stays there if it is only 2^30 away, and all fits 32 bits.
static void ends_of(const pn_model_t *m, uint32_t step, uint32_t cell, uint32_t side, const int8_t *code,
    uint16_t *from, uint16_t *to) {
    int32_t moved = (int32_t)(((int64_t)code[0] * side * record(m, PN_DETECT_CENTRE_MULT) + (1 << 23)) >> 24);
    int32_t centre = (int32_t)((uint64_t)(2 * cell + 1) * step >> 16) + pn_clamp(moved, -(1 << 30), 1 << 30);
    int32_t half = (int32_t)(size_of(side, code[2], record(m, PN_DETECT_SIZE_MULT)) + 1) / 2;
    *from = (uint16_t)pn_clamp(centre - half, 0, WHOLE);
    *to = (uint16_t)pn_clamp(centre + half, 0, WHOLE);
}

// Takes a candidate into the list, best first and the older one of equals before the younger; the last one may have to
// go.
static PN_APART void take(pn_model_t *m, const pn_candidate_t *c) {
    pn_candidate_t *list = candidates(m);
    pn_detecting_t *d = &m->state.detecting;
    uint32_t top = record16(m, PN_DETECT_TOP), i = d->candidates < top ? d->candidates++ : top - 1;
    PN_READ(list, i * sizeof(*c), TAG_TASK);
    for (; i > 0 && list[i - 1].value < c->value; i--) {
        list[i] = list[i - 1];
    }
    list[i] = *c;
    PN_WRITE(list, d->candidates * sizeof(*c), TAG_TASK);
    if (d->candidates == top) {
        d->least = (int16_t)(list[top - 1].value + 1);
    }
}

// The candidates of one anchor at one cell: those of its classes that are good enough.
static void look(pn_model_t *m, const uint8_t *scale, const uint8_t *anchor, uint32_t y, uint32_t x,
    const int8_t *code) {
    pn_candidate_t c;
    for (uint32_t k = 0; k < m->classes; k++) {
        c.value = (int16_t)code[4 + k];
        if (c.value < m->state.detecting.least) {
            continue;
        }
        c.label = (uint16_t)k;
        ends_of(m, pn_u32(scale + PN_SCALE_STEP_Y), y, pn_u16(anchor + PN_ANCHOR_H), code + 1, &c.y0, &c.y1);
        ends_of(m, pn_u32(scale + PN_SCALE_STEP_X), x, pn_u16(anchor + PN_ANCHOR_W), code, &c.x0, &c.x1);
        if (c.x0 < c.x1 && c.y0 < c.y1) {
            take(m, &c);
        }
    }
}

// Looks for candidates in row `y` of a head's output. Heads have rows as lines, and come one after the other.
static void head_line(pn_model_t *m, const pn_stage_t *s, uint32_t y, const int8_t *line) {
    pn_detecting_t *d = &m->state.detecting;
    const uint8_t *scale = m->blob + record(m, PN_DETECT_SCALE_OFF) + d->scale * PN_SCALE_BYTES;
    const uint8_t *anchors = m->blob + pn_u32(scale + PN_SCALE_ANCHOR_OFF);
    uint32_t w = pn_pixels_out(s), n = pn_u32(scale + PN_SCALE_ANCHORS);
    if (d->outputs != NULL) {
        memcpy(d->outputs + d->outputs_done, line, w * s->cout);
        d->outputs_done += w * s->cout;
    }
    for (uint32_t x = 0; x < w; x++) {
        for (uint32_t a = 0; a < n; a++, line += 4 + m->classes) {
            look(m, scale, anchors + a * PN_ANCHOR_BYTES, y, x, line);
        }
    }
    d->scale = (uint8_t)(d->scale + (y + 1 == s->lines_out));
}

void pn_detect_line(pn_model_t *m, const pn_stage_t *s, uint32_t o, const int8_t *line) {
    PN_READ(line, pn_pixels_out(s) * s->cout, TAG(m, TAG_STAGING, s->index, o));
    if (s->flags & PN_FLAG_HEAD) {
        head_line(m, s, o, line);
    } else {
        stitch_line(m, s, o, line);
    }
}

// ---------------------------------------------------------------- boxes

// Whether two boxes of one class have more than `iou` of 65536 in common.
static bool same_thing(const pn_candidate_t *a, const pn_candidate_t *b, uint32_t iou) {
    int32_t w = (a->x1 < b->x1 ? a->x1 : b->x1) - (a->x0 > b->x0 ? a->x0 : b->x0);
    int32_t h = (a->y1 < b->y1 ? a->y1 : b->y1) - (a->y0 > b->y0 ? a->y0 : b->y0);
    if (a->label != b->label || w <= 0 || h <= 0) {
        return false;
    }
    uint64_t both = (uint64_t)w * (uint32_t)h;
    uint64_t sum = (uint64_t)((a->x1 - a->x0) * (a->y1 - a->y0)) + (uint64_t)((b->x1 - b->x0) * (b->y1 - b->y0));
    return both << 16 > iou * (sum - both);
}

uint32_t pn_detect_boxes(pn_model_t *m, uint32_t iou) {
    pn_candidate_t *list = candidates(m);
    uint32_t kept = 0, n = m->state.detecting.candidates;
    PN_READ(list, n * sizeof(*list), TAG_TASK);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t j = 0;
        while (j < kept && !same_thing(&list[i], &list[j], iou)) {
            j++;
        }
        if (j == kept) {
            list[kept++] = list[i];
        }
    }
    m->state.detecting.candidates = (uint16_t)kept;
    return kept;
}

// From 1/32768 of the picture to pixels of a side of the region.
static uint32_t pixels(uint32_t at, uint32_t from, uint32_t side) {
    return from + (at * side + WHOLE / 2) / WHOLE;
}

void pn_detect_box(const pn_model_t *m, uint32_t i, pn_box_t *box) {
    const pn_candidate_t *c = &candidates(m)[i];
    const pn_image_t *p = &m->run.image;
    box->x = pixels(c->x0, p->roi_x, p->roi_w);
    box->y = pixels(c->y0, p->roi_y, p->roi_h);
    box->w = pixels(c->x1, p->roi_x, p->roi_w) - box->x;
    box->h = pixels(c->y1, p->roi_y, p->roi_h) - box->y;
    box->label = c->label;
    box->score = score(m, c->value);
}

#endif
