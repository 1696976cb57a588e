#include "engine/blob/pn_blob.h"

#include <string.h>

// records are copied to it
typedef char pn_patch_size[sizeof(pn_patch_t) == PN_SIZED_PATCH_BYTES ? 1 : -1];

void pn_patch_read(const pn_model_t *m, uint32_t tunnel, pn_patch_t *p) {
    uint32_t bytes = pn_patch_bytes(m);
    p->height = m->height;
    p->width = m->width;
    memcpy(p, m->blob + pn_u32(m->blob + PN_HEADER_PATCH_OFF) + tunnel * bytes, bytes);
}

// The input's shape and zero point: the output's of the layer before, which *l still holds. After a head, what the head
// has read; first behind the chains, the map that these have made together.
static void layer_input(const pn_model_t *m, uint32_t index, pn_layer_t *l) {
    if (index == 0) {
        l->h = m->patch_h;
        l->w = m->patch_w;
        l->cin = m->channels;
        l->zero_in = (int8_t)m->blob[PN_HEADER_INPUT_ZERO]; // of a picture there is one per channel
    } else if (!(l->flags & PN_FLAG_HEAD)) {
        l->h = index == m->layers ? m->map_h : l->oh;
        l->w = index == m->layers ? m->map_w : l->ow;
        l->cin = l->cout;
        l->zero_in = l->zero_out;
    }
}

static pn_axis_t axis_y(const uint8_t *r) {
    pn_axis_t a = { r[PN_LAYER_KERNEL_H], r[PN_LAYER_STRIDE_H], r[PN_LAYER_PAD_TOP], r[PN_LAYER_SECOND_H] };
    return a;
}

static pn_axis_t axis_x(const uint8_t *r) {
    pn_axis_t a = { r[PN_LAYER_KERNEL_W], r[PN_LAYER_STRIDE_W], r[PN_LAYER_PAD_LEFT], r[PN_LAYER_SECOND_W] };
    return a;
}

// Outputs along a side of `size`; 0 where the kernel has no place.
static PN_APART uint16_t outputs(const pn_axis_t *a, uint32_t size, uint32_t pad_after) {
    uint32_t all = size + a->pad + pad_after;
    return all < a->kernel ? 0 : (uint16_t)((all - a->kernel) / (a->stride ? a->stride : 1u) + 1);
}

void pn_layer_read(const pn_model_t *m, uint32_t tunnel, uint32_t index, pn_layer_t *l) {
    const uint8_t *r = pn_layer_record(m, index), *p = pn_param_record(m, tunnel, index);
    layer_input(m, index, l);
    l->index = (uint8_t)index;
    l->kind = r[PN_LAYER_KIND];
    l->mode = r[PN_LAYER_MODE];
    l->flags = r[PN_LAYER_FLAGS];
    l->y = axis_y(r);
    l->x = axis_x(r);
    l->cexp = (uint16_t)pn_u16(r + PN_LAYER_CEXP);
    l->cout = (uint16_t)pn_u16(r + PN_LAYER_COUT);
    l->rows = (uint16_t)pn_u16(r + PN_LAYER_ROWS);
    l->group = (uint16_t)pn_u16(r + PN_LAYER_GROUP);
    l->lines = (uint16_t)pn_u16(r + PN_LAYER_LINES);
    l->ring_at = pn_u32(r + PN_LAYER_RING_AT);
    l->wide_at = pn_u32(r + PN_LAYER_WIDE_AT);
    l->oh = outputs(&l->y, l->h, r[PN_LAYER_PAD_BOTTOM]);
    l->ow = outputs(&l->x, l->w, r[PN_LAYER_PAD_RIGHT]);
    l->zero_out = (int8_t)p[PN_PARAM_ZERO_OUT];
    l->zero_mid = (int8_t)p[PN_PARAM_ZERO_MID];
    l->zero_add = (int8_t)p[PN_PARAM_ZERO_ADD];
    l->shift = p[PN_PARAM_SHIFT];
    l->shift_1 = p[PN_PARAM_SHIFT_1];
    l->shift_2 = p[PN_PARAM_SHIFT_2];
    l->res_mult = (uint16_t)pn_u16(p + PN_PARAM_RES_MULT);
    l->weight_off = pn_u32(p + PN_PARAM_WEIGHT_OFF);
}

void pn_segment_read(const pn_model_t *m, uint32_t index, pn_segment_t *s) {
    const uint8_t *r = m->blob + pn_u32(m->blob + PN_HEADER_SEGMENT_OFF) + index * PN_SEGMENT_BYTES;
    s->first = r[PN_SEGMENT_FIRST];
    s->layers = r[PN_SEGMENT_LAYERS];
    s->strip = (uint16_t)pn_u16(r + PN_SEGMENT_STRIP);
    s->in_at = pn_u32(r + PN_SEGMENT_IN_AT);
    s->out_at = pn_u32(r + PN_SEGMENT_OUT_AT);
    s->state_at = pn_u32(r + PN_SEGMENT_STATE_AT);
    s->work_at = pn_u32(r + PN_SEGMENT_WORK_AT);
}

size_t pn_labels(const pn_model_t *m, const char **text) {
    *text = (const char *)m->blob + pn_u32(m->blob + PN_HEADER_LABEL_OFF);
    return pn_u32(m->blob + PN_HEADER_LABEL_BYTES);
}

pn_op_t pn_op(const pn_model_t *m, uint32_t index) {
    const uint8_t *r = pn_layer_record(m, index);
    pn_op_t op = { r[PN_LAYER_KIND], axis_y(r), axis_x(r) };
    return op;
}
