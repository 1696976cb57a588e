#include "engine/blob/pn_blob.h"

// The input's shape and zero point: the output's of the layer before, which *l still holds. After a head, what the head
// has read; first behind the chains, the map that these have made together.
static void layer_input(const pn_model_t *m, uint32_t index, pn_layer_t *l) {
    if (index == 0) {
        l->h = m->patch_h;
        l->w = m->patch_w;
        l->cin = m->channels;
        l->zero_in = 0; // layer 0 has one per channel, in the header
    } else if (!(l->flags & PN_FLAG_HEAD)) {
        l->h = index == m->layers ? m->map_h : l->oh;
        l->w = index == m->layers ? m->map_w : l->ow;
        l->cin = l->cout;
        l->zero_in = l->zero_out;
    }
}

void pn_layer_read(const pn_model_t *m, uint32_t tunnel, uint32_t index, pn_layer_t *l) {
    const uint8_t *r = pn_layer_record(m, index);
    const uint8_t *p = m->blob + pn_u32(m->blob + PN_HEADER_PARAM_OFF) + (tunnel * m->layers + index) * PN_PARAM_BYTES;
    layer_input(m, index, l);
    l->index = (uint8_t)index;
    l->kind = r[PN_LAYER_KIND];
    l->kernel = r[PN_LAYER_KERNEL];
    l->stride = r[PN_LAYER_STRIDE];
    l->flags = r[PN_LAYER_FLAGS];
    l->cexp = (uint16_t)pn_u16(r + PN_LAYER_CEXP);
    l->cout = (uint16_t)pn_u16(r + PN_LAYER_COUT);
    l->mode = (uint16_t)pn_u16(r + PN_LAYER_MODE);
    l->rows = (uint16_t)pn_u16(r + PN_LAYER_ROWS);
    l->group = (uint16_t)pn_u16(r + PN_LAYER_GROUP);
    l->lines = (uint16_t)pn_u16(r + PN_LAYER_LINES);
    l->ring_at = pn_u32(r + PN_LAYER_RING_AT);
    l->wide_at = pn_u32(r + PN_LAYER_WIDE_AT);
    // odd kernels with padding kernel / 2: every stride-th input row has an output row
    uint32_t stride = l->stride ? l->stride : 1;
    l->oh = (uint16_t)((l->h - 1) / stride + 1);
    l->ow = (uint16_t)((l->w - 1) / stride + 1);
    l->zero_out = (int8_t)p[PN_PARAM_ZERO_OUT];
    l->shift = p[PN_PARAM_SHIFT];
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
    pn_op_t op = { r[PN_LAYER_KIND] == PN_KIND_BOTTLENECK, r[PN_LAYER_KERNEL], r[PN_LAYER_STRIDE] };
    return op;
}
