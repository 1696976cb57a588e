// Which weights a step needs, where they lie in the file, and whether they are good.
#include "engine/run/pn_parts.h"

#include "engine/blob/pn_arrays.h"
#include "engine/run/pn_stage.h"

// Arrays that can be read output by output: place in the blob, outputs, weights of each (products of at most 2^bits in a
// sum), and whether they go in pairs.
typedef struct {
    uint32_t at, outputs, row;
    int bits, shift;
    bool pairs;
} rows_t;

static rows_t fc_rows(const pn_model_t *m) {
    rows_t r = { pn_u32(m->blob + PN_HEADER_FC_OFF), m->classes, m->features, 14, m->blob[PN_HEADER_FC_SHIFT], false };
    return r;
}

static rows_t conv_rows(uint32_t at, uint32_t outputs, const pn_axis_t *a, const pn_axis_t *b, uint32_t cin, int shift,
    uint32_t flags) {
    rows_t r = { at, outputs, a->kernel * b->kernel * cin, 15, shift, pn_paired(flags) };
    return r;
}

// Bytes of `n` outputs.
static uint32_t rows_bytes(const rows_t *r, uint32_t n) {
    return r->pairs ? (n + 1) / 2 * pn_pair_bytes((r->row + 3) / 4) : n * (8 + r->row);
}

// Outputs of a part that begins with `from`.
static uint32_t outputs_at_once(const pn_model_t *m, const rows_t *r, uint32_t from) {
    uint32_t left = r->outputs - from;
    return rows_bytes(r, left) <= m->weights.bytes ? left : m->weights.bytes / rows_bytes(r, 4) * 4;
}

static const pn_stage_t *stage_of(const pn_model_t *m) {
    return &pn_stages(m)[m->run.job.stage];
}

static rows_t rows_of(const pn_model_t *m, bool fc) {
    if (fc) {
        return fc_rows(m);
    }
    const pn_stage_t *s = stage_of(m);
    return conv_rows(pn_weight_off(m, s), s->cout, &s->along, &s->across, s->cin, s->shift, s->flags);
}

// Outputs of a convolution or of the fully connected layer from `from` on.
static pn_part_t part_of_rows(const pn_model_t *m, bool fc, uint32_t layer, uint32_t from) {
    rows_t r = rows_of(m, fc);
    pn_part_t part = { (uint8_t)layer, (uint16_t)from, (uint16_t)outputs_at_once(m, &r, from) };
    return part;
}

// What the next step needs.
static pn_part_t next_part(const pn_model_t *m, bool fc) {
    if (pn_floats(m)) {
        pn_part_t all = { fc ? m->all_layers : stage_of(m)->index, 0, 1 };
        return all;
    }
    if (fc) {
        return part_of_rows(m, true, m->all_layers, m->run.row);
    }
    const pn_stage_t *s = stage_of(m);
    pn_part_t part = { s->index, 0, s->kind == PN_KIND_MEANPOOL ? 1 : s->cexp };
    if (pn_grouped_conv(s)) {
        part.from = s->channel;
        part.n = (uint16_t)pn_part_channels(m, s);
    } else if (s->kind == PN_KIND_CONV) {
        part = part_of_rows(m, false, s->index, s->channel);
    } else if (pn_is_fast(s)) {
        pn_fast_t f = pn_fast_shape(s);
        part.from = s->channel;
        part.n = (uint16_t)pn_fast_group(&f, s->channel);
    }
    return part;
}

static PN_APART void want(pn_model_t *m, uint32_t at, uint32_t bytes, uint32_t to) {
    m->weights.want_at = at;
    m->weights.want_bytes = bytes;
    m->weights.want_to = to;
}

// Where a part of rows lies: pairs, and all of them, in one stretch, else biases, multipliers and weights apart. Returns
// how many stretches there are.
static uint32_t want_rows(pn_model_t *m, const rows_t *r, uint32_t i) {
    uint32_t from = m->weights.part.from, n = m->weights.part.n;
    if (r->pairs || n == r->outputs) {
        want(m, r->at + rows_bytes(r, from), rows_bytes(r, n), 0);
        return 1;
    }
    if (i < 2) {
        want(m, r->at + 4 * (i * r->outputs + from), 4 * n, i * 4 * n);
    } else {
        want(m, r->at + 8 * r->outputs + from * r->row, n * r->row, 8 * n);
    }
    return 3;
}

// The first group's are read with the projection's scales, the others' behind these: those that stay behind each other,
// the rest in turn behind them.
static void want_group(pn_model_t *m, const pn_stage_t *s) {
    pn_fast_t f = pn_fast_shape(s);
    pn_fast_arrays_t bytes = pn_fast_arrays(&f);
    uint32_t from = m->weights.part.from, weights = m->weights.part.n * bytes.each, stay = m->weights.stay;
    uint32_t off = pn_weight_off(m, s);
    uint32_t place = from < stay ? from : stay;
    if (from == 0) {
        want(m, off, bytes.narrow + weights, 0);
    } else {
        want(m, off + bytes.narrow + from * bytes.each, weights, bytes.narrow + place * bytes.each);
    }
}

static bool is_rows(const pn_model_t *m, bool fc) {
    return !pn_floats(m) && (fc || stage_of(m)->kind == PN_KIND_CONV);
}

// Stretch `i` of the file in which the part lies. Returns how many there are.
static uint32_t want_part(pn_model_t *m, bool fc, uint32_t i) {
    if (is_rows(m, fc)) {
        rows_t r = rows_of(m, fc);
        return want_rows(m, &r, i);
    }
    const pn_stage_t *s = stage_of(m);
    uint32_t at, end;
    if (!fc && pn_is_fast(s)) {
        want_group(m, s);
    } else {
        pn_check_arrays(m, m->run.tunnel, s->index, !fc, &at, &end);
        want(m, at, end - at, 0);
    }
    return 1;
}

static int check_part(pn_model_t *m, bool fc) {
    m->fault_layer = fc ? PN_NO_LAYER : stage_of(m)->index;
    if (is_rows(m, fc)) {
        rows_t r = rows_of(m, fc);
        return r.pairs ? pn_check_pairs(m->weights.at, m->weights.part.n, r.row, r.shift)
                       : pn_check_scaled(m->weights.at, m->weights.part.n, r.row, r.bits, r.shift);
    }
    const pn_stage_t *s = stage_of(m);
    if (!fc && pn_is_fast(s)) {
        pn_fast_t f = pn_fast_stage(m, s);
        return pn_check_fast(&f, m->weights.part.from, m->weights.part.n);
    }
    uint32_t at, end;
    return pn_check_arrays(m, m->run.tunnel, s->index, !fc, &at, &end);
}

// Channels whose weights can stay in the buffer: of a fast bottleneck by itself all groups that have room there beside
// one more.
static uint16_t staying(const pn_model_t *m, uint32_t layers) {
    const pn_stage_t *s = pn_stages(m);
    if (!m->weights.parted || layers != 1 || !pn_is_fast(s)) {
        return 0;
    }
    pn_fast_t f = pn_fast_shape(s);
    pn_fast_arrays_t bytes = pn_fast_arrays(&f);
    return (uint16_t)(((m->weights.bytes - bytes.narrow) / bytes.each / s->group - 1) * s->group);
}

void pn_parts_begin(pn_model_t *m, uint32_t first, uint32_t layers) {
    uint32_t at, end;
    if (m->weights.buffer == NULL) {
        return;
    }
    m->weights.at = NULL;
    m->weights.asked = 0;
    pn_check_arrays(m, m->run.tunnel, first, layers, &at, &end);
    want(m, at, end - at, 0);
    m->weights.parted = m->weights.want_bytes > m->weights.bytes;
    m->weights.stay = staying(m, layers);
    m->weights.held = 0;
    m->weights.at = end > at ? NULL : m->weights.buffer; // where there are no weights, all are there
}

// Whether the next step's part is not in the buffer, which it is if it was the last one or stays.
static bool lacks(pn_model_t *m, bool fc) {
    pn_part_t next = next_part(m, fc), *part = &m->weights.part;
    if (next.from + next.n <= m->weights.held) {
        *part = next;
        return false;
    }
    return next.layer != part->layer || next.from < part->from || next.from >= part->from + part->n;
}

// All that was asked for is in the buffer. A file is never to be trusted.
static int take(pn_model_t *m, bool fc) {
    pn_weights_t *w = &m->weights;
    uint32_t at, end, layers = fc ? 0 : m->run.segment.layers;
    w->asked = 0;
    w->at = w->buffer;
    w->from = !w->parted ? w->want_at : fc ? pn_u32(m->blob + PN_HEADER_FC_OFF) : pn_weight_off(m, stage_of(m));
    int err = w->parted ? check_part(m, fc)
                        : pn_check_arrays(m, m->run.tunnel, m->run.segment.first, layers, &at, &end);
    if (err != PN_OK) {
        w->at = NULL;
    } else if (w->part.from < w->stay) {
        w->held = (uint16_t)(w->part.from + w->part.n);
    }
    return err;
}

static bool takes_no_weights(const pn_model_t *m) {
    uint8_t kind = stage_of(m)->kind;
    return m->run.job.action == PN_SAMPLE || pn_moves(kind) || (pn_floats(m) && kind == PN_KIND_MEANPOOL);
}

int pn_parts_ready(pn_model_t *m, bool fc) {
    bool there = m->weights.at != NULL;
    if ((m->weights.parted && !fc && takes_no_weights(m)) || (fc && !m->dense)
        || (there && !(m->weights.parted && lacks(m, fc)))) {
        return PN_OK;
    }
    m->weights.at = NULL;
    if (m->weights.parted && m->weights.asked == 0) {
        m->weights.part = next_part(m, fc);
    }
    // each stretch of the file is asked for once; when we are back after the last one, all is there
    if (m->weights.asked < (m->weights.parted ? want_part(m, fc, m->weights.asked) : 1u)) {
        m->weights.asked++;
        return PN_WANT;
    }
    return take(m, fc);
}

// ---------------------------------------------------------------- sizes

static uint32_t larger(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

static uint32_t least_rows(const rows_t *r, uint32_t n) {
    return rows_bytes(r, n < r->outputs ? n : r->outputs);
}

// Bytes of the smallest parts in which a layer can be done.
static uint32_t least_part(pn_model_t *m, const pn_layer_t *l, uint32_t tunnel) {
    if (l->kind == PN_KIND_CONV && !pn_floats(m)) {
        rows_t r = conv_rows(0, l->cout, &l->y, &l->x, l->cin, 0, l->flags);
        return least_rows(&r, l->mode == PN_MODE_GROUPS ? l->group : PN_LEAST_OUTPUTS);
    }
    if (pn_fast_mode(l->mode)) {
        pn_fast_t f = pn_fast_layer(l);
        pn_fast_arrays_t bytes = pn_fast_arrays(&f);
        return bytes.narrow + l->group * bytes.each;
    }
    uint32_t at, end;
    pn_check_arrays(m, tunnel, l->index, 1, &at, &end);
    return end - at;
}

static uint32_t least(pn_model_t *m) {
    uint32_t bytes = 0, last = m->tunnels - 1u;
    pn_layer_t l;
    for (uint32_t i = 0; i < m->all_layers; i++) {
        pn_layer_read(m, last, i, &l);
        bytes = larger(bytes, least_part(m, &l, last));
    }
    if (m->dense && pn_floats(m)) {
        uint32_t from, end;
        pn_check_arrays(m, 0, 0, 0, &from, &end);
        bytes = larger(bytes, end - from);
    } else if (m->dense) {
        rows_t r = fc_rows(m);
        bytes = larger(bytes, least_rows(&r, PN_LEAST_OUTPUTS));
    }
    return bytes;
}

// The most bytes that lie between the first and the last array of a segment, in any chain, or of the fully connected
// layer.
static uint32_t most(pn_model_t *m) {
    // segments of the chains before the last
    uint32_t from = 0, end = 0, bytes, last = m->tunnels - 1u, more = last * m->segments;
    pn_segment_t s;
    if (m->dense) {
        pn_check_arrays(m, 0, 0, 0, &from, &end);
    }
    bytes = end - from;
    for (uint32_t i = 0; i < more + m->all_segments; i++) {
        pn_segment_read(m, i < more ? i % m->segments : i - more, &s);
        pn_check_arrays(m, i < more ? i / m->segments : last, s.first, s.layers, &from, &end);
        bytes = larger(bytes, end - from);
    }
    return bytes;
}

void pn_parts_sizes(pn_model_t *m) {
    m->weights.least = least(m);
    m->weights.most = most(m);
    m->fault_layer = PN_NO_LAYER;
}

int pn_weights_buffer(pn_model_t *m, void *buffer, uint32_t bytes) {
    if ((uintptr_t)buffer % PN_ALIGN != 0) {
        return PN_ERR_ALIGN;
    }
    if (bytes < m->weights.least) {
        return PN_ERR_ARENA;
    }
    m->weights.buffer = buffer;
    m->weights.bytes = bytes;
    return PN_OK;
}

void *pn_weights_leave(pn_model_t *m) {
    void *buffer = m->weights.buffer;
    m->weights.buffer = NULL;
    return buffer;
}
