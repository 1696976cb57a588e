#include "pn_blob.h"

#include <string.h>

#include "pn_format.h"

// The input's shape, place and zero point: the output's of the layer before, which *l still holds.
static void layer_input(const pn_model_t *m, uint32_t index, pn_layer_t *l) {
    if (index == 0) {
        l->h = m->patch_h;
        l->w = m->patch_w;
        l->cin = m->channels;
        l->in_at = 0;
        l->zero_in = 0; // layer 0 has one per channel, in the header
    } else {
        l->h = l->oh;
        l->w = l->ow;
        l->cin = l->cout;
        l->in_at = l->out_at;
        l->zero_in = l->zero_out;
    }
}

void pn_layer_read(const pn_model_t *m, uint32_t tunnel, uint32_t index, pn_layer_t *l) {
    const uint8_t *r = m->blob + pn_u32(m->blob + PN_HEADER_LAYER_OFF) + index * PN_LAYER_BYTES;
    const uint8_t *p = m->blob + pn_u32(m->blob + PN_HEADER_PARAM_OFF)
        + (tunnel * m->layers + index) * PN_PARAM_BYTES;
    layer_input(m, index, l);
    l->index = (uint8_t)index;
    l->kind = r[PN_LAYER_KIND];
    l->kernel = r[PN_LAYER_KERNEL];
    l->stride = r[PN_LAYER_STRIDE];
    l->flags = r[PN_LAYER_FLAGS];
    l->cexp = (uint16_t)pn_u16(r + PN_LAYER_CEXP);
    l->cout = (uint16_t)pn_u16(r + PN_LAYER_COUT);
    l->rows = (uint16_t)pn_u16(r + PN_LAYER_ROWS);
    l->group = (uint16_t)pn_u16(r + PN_LAYER_GROUP);
    l->out_at = pn_u32(r + PN_LAYER_OUT_AT);
    l->acc_at = pn_u32(r + PN_LAYER_ACC_AT);
    l->ring_at = pn_u32(r + PN_LAYER_RING_AT);
    // odd kernels with padding kernel / 2: every stride-th input row has an output row
    uint32_t stride = l->stride ? l->stride : 1;
    l->oh = (uint16_t)((l->h - 1) / stride + 1);
    l->ow = (uint16_t)((l->w - 1) / stride + 1);
    l->zero_out = (int8_t)p[PN_PARAM_ZERO_OUT];
    l->shift = p[PN_PARAM_SHIFT];
    l->res_mult = (uint16_t)pn_u16(p + PN_PARAM_RES_MULT);
    l->weight_off = pn_u32(p + PN_PARAM_WEIGHT_OFF);
}

uint64_t pn_ring_bytes(const pn_layer_t *l) {
    uint64_t rows = (uint64_t)pn_ring_rows(l) * l->w;
    if (l->kind == PN_KIND_BOTTLENECK) {
        return (l->flags & PN_FLAG_EXPAND ? rows * l->group : 0) + l->group;
    }
    return l->index == 0 ? rows * l->cin : 0;
}

uint64_t pn_acc_bytes(const pn_layer_t *l) {
    return l->kind == PN_KIND_BOTTLENECK ? 4ull * l->rows * l->ow * l->cout : 0;
}

size_t pn_labels(const pn_model_t *m, const char **text) {
    *text = (const char *)m->blob + pn_u32(m->blob + PN_HEADER_LABEL_OFF);
    return pn_u32(m->blob + PN_HEADER_LABEL_BYTES);
}

void pn_info(const pn_model_t *m, pn_info_t *info) {
    memcpy(info->input_zero, m->blob + PN_HEADER_INPUT_ZERO, sizeof(info->input_zero));
    info->output_zero = (int8_t)m->blob[PN_HEADER_FC_ZERO];
    memcpy(&info->input_scale, m->blob + PN_HEADER_INPUT_SCALE, sizeof(info->input_scale));
    memcpy(&info->output_scale, m->blob + PN_HEADER_OUTPUT_SCALE, sizeof(info->output_scale));
}

pn_op_t pn_op(const pn_model_t *m, uint32_t index) {
    const uint8_t *r = m->blob + pn_u32(m->blob + PN_HEADER_LAYER_OFF) + index * PN_LAYER_BYTES;
    pn_op_t op = { r[PN_LAYER_KIND] == PN_KIND_BOTTLENECK, r[PN_LAYER_KERNEL], r[PN_LAYER_STRIDE] };
    return op;
}
