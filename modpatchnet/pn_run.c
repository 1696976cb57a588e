// Running a checked blob: a state machine whose step is one output row of one group of channels.
#include "patchnet.h"

#include <string.h>

#include "pn_blob.h"
#include "pn_format.h"
#include "pn_image.h"
#include "pn_kernels.h"
#include "pn_round.h"

enum { PHASE_LAYER, PHASE_POOL, PHASE_FEATURES, PHASE_FC, PHASE_DONE };

// Outputs of the fully connected layer in one step.
#define FC_OUTPUTS 16

static uint32_t header(const pn_model_t *m, int field) {
    return pn_u32(m->blob + field);
}

static int32_t *feature_sums(const pn_model_t *m) {
    return (int32_t *)(void *)(m->arena + header(m, PN_HEADER_ACC_AT));
}

static int32_t zero_q8(int8_t zero_out) {
    return 256 * zero_out + 128;
}

static void begin_layer(pn_model_t *m, uint32_t index) {
    pn_layer_read(m, m->tunnel, index, &m->layer);
    m->phase = PHASE_LAYER;
    m->index = (uint8_t)index;
    m->row = m->strip = m->group = m->fresh = 0;
}

static int start(pn_model_t *m, void *arena, size_t len) {
    if (len < m->arena_bytes) {
        return PN_ERR_ARENA;
    }
    if ((uintptr_t)arena % PN_ARENA_ALIGN != 0) {
        return PN_ERR_ALIGN;
    }
    m->arena = arena;
    m->tunnel = 0;
    begin_layer(m, 0);
    if (!pn_concat(m)) {
        memset(feature_sums(m), 0, 4 * m->features);
    }
    return PN_OK;
}

int pn_start(pn_model_t *m, void *arena, size_t len, const pn_image_t *image) {
    m->raw = NULL;
    m->image = *image;
    int err = pn_image_prepare(&m->image, m->height, m->width, m->blob[PN_HEADER_FIT] == PN_FIT_CROP);
    return err ? err : start(m, arena, len);
}

int pn_start_raw(pn_model_t *m, void *arena, size_t len, const int8_t *x) {
    m->raw = x;
    return start(m, arena, len);
}

// Row `y` of the current patch, at the network's resolution.
static void sample_row(const pn_model_t *m, uint32_t y, int8_t *out) {
    const uint8_t *patch = m->blob + header(m, PN_HEADER_PATCH_OFF) + m->tunnel * PN_PATCH_BYTES;
    uint32_t py = pn_u16(patch + PN_PATCH_Y) + y, px = pn_u16(patch + PN_PATCH_X);
    if (m->raw) {
        size_t at = ((size_t)py * m->width + px) * m->channels;
        memcpy(out, m->raw + at, (size_t)m->patch_w * m->channels);
    } else {
        pn_image_row(&m->image, m->height, m->width, m->channels, py, px, m->patch_w, out);
    }
}

// The input rows under output row m->row, first and one past last, inside the map; *top is the kernel's first row, inside or not.
static void rows_needed(const pn_model_t *m, int *top, int *from, int *to) {
    const pn_layer_t *l = &m->layer;
    *top = m->row * l->stride - l->kernel / 2;
    *from = *top < 0 ? 0 : *top;
    *to = *top + l->kernel < l->h ? *top + l->kernel : l->h;
}

// Layer 0: samples the rows that the next output row needs and the ring does not yet hold.
static void fill_ring_from_picture(pn_model_t *m, int from, int to) {
    const pn_layer_t *l = &m->layer;
    for (int y = from > m->fresh ? from : m->fresh; y < to; y++) {
        sample_row(m, (uint32_t)y, (int8_t *)m->arena + l->ring_at + (y % pn_ring_rows(l)) * l->w * l->cin);
    }
    m->fresh = (uint16_t)to;
}

static void conv_step(pn_model_t *m) {
    const pn_layer_t *l = &m->layer;
    int top, from, to;
    rows_needed(m, &top, &from, &to);
    if (l->index == 0) {
        fill_ring_from_picture(m, from, to);
    }
    const int8_t *map = (const int8_t *)m->arena + (l->index ? l->in_at : l->ring_at);
    uint32_t modulus = l->index ? l->h : pn_ring_rows(l);
    const int8_t *rows[PN_MAX_KERNEL];
    for (int k = 0; k < l->kernel; k++) {
        int y = top + k;
        rows[k] = y < from || y >= to ? NULL : map + (uint32_t)y % modulus * l->w * l->cin;
    }
    const uint8_t *end;
    pn_scaled_t s = pn_scaled(m->blob + l->weight_off, l->cout, l->cout * l->kernel * l->kernel * l->cin, &end);
    pn_conv_t c = {
        .rows = rows,
        .zero = l->index ? &l->zero_in : (const int8_t *)m->blob + PN_HEADER_INPUT_ZERO,
        .zero_step = l->index == 0,
        .weight = s.weight, .bias = s.bias, .mult = s.mult,
        .zero_q8 = zero_q8(l->zero_out),
        .w = l->w, .cin = l->cin, .ow = l->ow, .cout = l->cout,
        .kernel = l->kernel, .stride = l->stride, .shift = l->shift,
    };
    pn_conv_row(&c, (int8_t *)m->arena + l->out_at + (size_t)m->row * l->ow * l->cout);
}

// What the steps of a bottleneck share: its arrays, and the group's channels.
typedef struct {
    pn_scaled_t expand, depthwise, project;
    uint32_t n;
    bool has_expand, is_signed;
    uint8_t *ring, *values; // expanded rows, depthwise values of a pixel
} bottleneck_t;

static void bottleneck_arrays(const pn_model_t *m, bottleneck_t *b) {
    const pn_layer_t *l = &m->layer;
    const uint8_t *p = m->blob + l->weight_off;
    b->has_expand = l->flags & PN_FLAG_EXPAND;
    b->is_signed = l->flags & PN_FLAG_SIGNED;
    uint32_t expanded = b->has_expand ? l->cexp : 0;
    b->expand = pn_scaled(p, expanded, expanded * l->cin, &p);
    b->depthwise = pn_scaled(p, l->cexp, l->cexp * l->kernel * l->kernel, &p);
    b->project = pn_scaled(p, l->cout, l->cexp * l->cout, &p);
    b->n = l->cexp - m->group < l->group ? (uint32_t)(l->cexp - m->group) : l->group;
    b->ring = m->arena + l->ring_at;
    b->values = b->ring + (b->has_expand ? pn_ring_rows(l) * l->w * l->group : 0);
}

static void expand_rows(pn_model_t *m, const bottleneck_t *b, int from, int to) {
    const pn_layer_t *l = &m->layer;
    const pn_scaled_t *s = &b->expand;
    const int8_t *in = (const int8_t *)m->arena + l->in_at;
    for (int y = from > m->fresh ? from : m->fresh; y < to; y++) {
        pn_expand_row(in + (size_t)y * l->w * l->cin, l->w, l->cin, s->weight + m->group * l->cin, s->bias + m->group,
            s->mult + m->group, (int)b->n, b->is_signed, b->ring + y % pn_ring_rows(l) * l->w * b->n);
    }
    m->fresh = (uint16_t)to;
}

// Depthwise and projection of one row: the group's share is added to the row's sums.
static void sum_row(pn_model_t *m, const bottleneck_t *b, const uint8_t *const *rows, int32_t *acc) {
    const pn_layer_t *l = &m->layer;
    pn_depthwise_t d = {
        .rows = rows,
        .weight = b->depthwise.weight + m->group,
        .bias = b->depthwise.bias + m->group, .mult = b->depthwise.mult + m->group,
        .w = l->w, .step = b->has_expand ? (int)b->n : l->cin, .weight_step = l->cexp,
        .kernel = l->kernel, .group = (int)b->n,
        .zero = b->has_expand ? 0 : l->zero_in,
        .in_signed = !b->has_expand || b->is_signed, .out_signed = b->is_signed,
    };
    for (int x = 0; x < l->ow; x++, acc += l->cout) {
        if (m->group == 0) {
            memcpy(acc, b->project.bias, 4 * (size_t)l->cout);
        }
        pn_depthwise_pixel(&d, x * l->stride - l->kernel / 2, b->values);
        pn_project_add(b->values, b->is_signed, b->project.weight + (size_t)m->group * l->cout, (int)b->n, l->cout, acc);
    }
}

static void bottleneck_step(pn_model_t *m) {
    const pn_layer_t *l = &m->layer;
    bottleneck_t b;
    bottleneck_arrays(m, &b);
    int top, from, to;
    rows_needed(m, &top, &from, &to);
    if (b.has_expand) {
        expand_rows(m, &b, from, to);
    }
    const uint8_t *in = m->arena + l->in_at, *rows[PN_MAX_KERNEL];
    for (int k = 0; k < l->kernel; k++) {
        int y = top + k;
        rows[k] = y < from || y >= to ? NULL
            : b.has_expand ? b.ring + y % pn_ring_rows(l) * l->w * b.n : in + (size_t)y * l->w * l->cin + m->group;
    }
    int32_t *acc = (int32_t *)(void *)(m->arena + l->acc_at) + (size_t)(m->row - m->strip) * l->ow * l->cout;
    sum_row(m, &b, rows, acc);
    if (m->group + b.n == l->cexp) {
        const int8_t *x = l->res_mult ? (const int8_t *)in + (size_t)m->row * l->w * l->cin : NULL;
        pn_project_end(acc, b.project.mult, l->shift, zero_q8(l->zero_out) - l->res_mult * l->zero_in, x, l->res_mult,
            l->ow, l->cout, (int8_t *)m->arena + l->out_at + (size_t)m->row * l->ow * l->cout);
    }
}

// The next row of the strip, else the next group, else the next strip. False when the layer is done.
static bool next_row(pn_model_t *m) {
    const pn_layer_t *l = &m->layer;
    m->row++;
    if (m->row < l->oh && m->row - m->strip < l->rows) {
        return true;
    }
    m->fresh = 0;
    if (l->cexp - m->group > l->group) {
        m->group = (uint16_t)(m->group + l->group);
        m->row = m->strip;
        return true;
    }
    m->group = 0;
    m->strip = m->row;
    return m->row < l->oh;
}

static void layer_step(pn_model_t *m) {
    bool more;
    if (m->layer.kind == PN_KIND_CONV) {
        conv_step(m);
        more = ++m->row < m->layer.oh;
    } else {
        bottleneck_step(m);
        more = next_row(m);
    }
    if (!more && m->index + 1 < m->layers) {
        begin_layer(m, m->index + 1u);
    } else if (!more) {
        m->phase = PHASE_POOL;
        m->index = m->layers;
        m->row = 0;
    }
}

// Turns the sums into `n` features of chain `tunnel` (0 if summed).
static void end_features(pn_model_t *m, uint32_t n, uint32_t tunnel) {
    const uint8_t *b = m->blob;
    int8_t *out = (int8_t *)m->arena + header(m, PN_HEADER_FEATURE_AT) + tunnel * n;
    int32_t mult = (int32_t)header(m, PN_HEADER_POOL_MULT), zero = zero_q8((int8_t)b[PN_HEADER_POOL_ZERO]);
    for (uint32_t c = 0; c < n; c++) {
        out[c] = pn_narrow_end(pn_narrow_q8(feature_sums(m)[c], b[PN_HEADER_POOL_SHIFT], mult) + zero);
    }
}

// One row of the last map; after the last row on to the next chain, or to what follows them all.
static void pool_step(pn_model_t *m) {
    const pn_layer_t *l = &m->layer;
    if (pn_concat(m) && m->row == 0) {
        memset(feature_sums(m), 0, 4 * (size_t)l->cout);
    }
    const int8_t *map = (const int8_t *)m->arena + l->out_at;
    pn_pool_add(map + (size_t)m->row * l->ow * l->cout, l->ow, l->cout, l->zero_out, feature_sums(m));
    if (++m->row < l->oh) {
        return;
    }
    if (pn_concat(m)) {
        end_features(m, l->cout, m->tunnel);
    }
    if (m->tunnel + 1 < m->tunnels) {
        m->tunnel++;
        begin_layer(m, 0);
    } else {
        m->phase = pn_concat(m) ? PHASE_FC : PHASE_FEATURES;
        m->row = 0;
    }
}

static void fc_step(pn_model_t *m) {
    const uint8_t *b = m->blob, *end;
    const int8_t *x = (const int8_t *)m->arena + header(m, PN_HEADER_FEATURE_AT);
    int16_t *out = (int16_t *)(void *)(m->arena + header(m, PN_HEADER_LOGIT_AT));
    pn_scaled_t s = pn_scaled(b + header(m, PN_HEADER_FC_OFF), m->classes, m->classes * m->features, &end);
    int32_t zero = 256 * (int8_t)b[PN_HEADER_FC_ZERO];
    uint32_t to = m->row + FC_OUTPUTS < m->classes ? m->row + FC_OUTPUTS : m->classes;
    for (uint32_t i = m->row; i < to; i++) {
        int32_t acc = pn_dot(x, s.weight + i * m->features, (int)m->features, s.bias[i]);
        out[i] = (int16_t)pn_clamp(pn_narrow_q8(acc, b[PN_HEADER_FC_SHIFT], s.mult[i]) + zero, INT16_MIN, INT16_MAX);
    }
    m->row = (uint16_t)to;
    if (to == m->classes) {
        m->phase = PHASE_DONE;
    }
}

int pn_step(pn_model_t *m) {
    switch (m->phase) {
        case PHASE_LAYER:
            layer_step(m);
            break;
        case PHASE_POOL:
            pool_step(m);
            break;
        case PHASE_FEATURES:
            end_features(m, m->features, 0);
            m->phase = PHASE_FC;
            break;
        case PHASE_FC:
            fc_step(m);
            break;
    }
    return m->phase == PHASE_DONE ? PN_OK : PN_MORE;
}
