#include "engine/blob/pn_arrays.h"

#include "engine/blob/pn_blob.h"
#include "engine/blob/pn_container.h"

int pn_check_scaled(const uint8_t *p, uint32_t n, uint32_t products, int bits, int shift) {
    int64_t room = (INT32_MAX >> shift) - ((int64_t)products << bits);
    for (uint32_t i = 0; i < n; i++) {
        int64_t bias = (int32_t)pn_u32(p + 4 * i);
        if (bias > room || bias < -room) {
            return PN_ERR_OVERFLOW;
        }
        if ((int32_t)pn_u32(p + 4 * (n + i)) <= 0) {
            return PN_ERR_WEIGHTS;
        }
    }
    return PN_OK;
}

// Checks the arrays at *off (n outputs, `weights` weights, see pn_check_scaled) and moves *off behind them. This and
// those below leave out what is not in memory.
static int check_scaled(const pn_model_t *m, uint32_t *off, uint32_t n, uint64_t weights, uint32_t products, int bits,
    int shift) {
    uint64_t bytes = 8ull * n + ((weights + 3) & ~3ull);
    if (!pn_in_weights(m, *off, bytes) || shift > PN_MAX_SHIFT) {
        return PN_ERR_WEIGHTS;
    }
    const uint8_t *p = pn_array(m, *off);
    *off += (uint32_t)bytes;
    return p == NULL ? PN_OK : pn_check_scaled(p, n, products, bits, shift);
}

// A bias and a multiplier of a fast bottleneck's wide values: sums of at most `largest` besides the bias must not leave
// 16 bits when they are scaled, so that two of them are clamped at once.
static int check_wide(const uint8_t *bias_at, const uint8_t *mult_at, int64_t largest) {
    int64_t bias = (int32_t)pn_u32(bias_at), mult = (int32_t)pn_u32(mult_at);
    if (mult <= 0) {
        return PN_ERR_WEIGHTS;
    }
    largest += bias < 0 ? -bias : bias;
    return largest <= INT32_MAX && (largest * mult + 0x80000000LL) >> 32 <= INT16_MAX ? PN_OK : PN_ERR_OVERFLOW;
}

// Whether `n` weights of 16 bits hold values of 8, as every bound on sums takes for granted.
static bool eight_bit_weights(const uint8_t *p, uint32_t n) {
    for (; n > 0; n--, p += 2) {
        int32_t w = (int16_t)pn_u16(p);
        if (w < INT8_MIN || w > INT8_MAX) {
            return false;
        }
    }
    return true;
}

// The biases and multipliers of the projection.
static int check_narrow(const pn_fast_t *f) {
    const uint8_t *p = (const uint8_t *)f->narrow;
    int64_t room = (INT32_MAX >> f->shift) - ((int64_t)f->cexp << 15);
    for (uint32_t i = 0; i < f->cout; i++) {
        const uint8_t *record = p + i / 2 * 16 + i % 2 * 4;
        int64_t bias = (int32_t)pn_u32(record);
        if ((int32_t)pn_u32(record + 8) <= 0) {
            return PN_ERR_WEIGHTS;
        }
        if (bias > room || bias < -room) {
            return PN_ERR_OVERFLOW;
        }
    }
    return PN_OK;
}

// The arrays of a group of `n` channels.
static int check_group(const pn_fast_t *f, const pn_fast_weights_t *w, const pn_fast_arrays_t *bytes, uint32_t n) {
    int64_t largest = (f->expands ? 255LL : 128LL) * 128 * f->kernel * f->kernel;
    bool wide_pairs = f->wide16 && f->expands && !pn_fast_eight(f);
    int err = PN_OK;
    for (uint32_t c = 0; c < n && err == PN_OK; c++) {
        const uint8_t *record = w->expand + c / 2 * bytes->pair, *d = w->depthwise + (c + 1) * bytes->channel;
        err = f->expands ? check_wide(record + c % 2 * 4, record + c % 2 * 4 + 8, 128LL * 128 * f->cin) : PN_OK;
        err = err ? err : check_wide(d - 8, d - 4, largest);
        if (err == PN_OK && wide_pairs && !eight_bit_weights(record + 16, 8 * pn_fast_quads(f))) {
            err = PN_ERR_WEIGHTS;
        }
    }
    bool good = !f->wide16 || eight_bit_weights(w->project, n * f->cout);
    return err ? err : good ? PN_OK : PN_ERR_WEIGHTS;
}

int pn_check_fast(const pn_fast_t *f, uint32_t from, uint32_t n) {
    pn_fast_arrays_t bytes = pn_fast_arrays(f);
    int err = check_narrow(f);
    for (uint32_t end = from + n; from < end && err == PN_OK; from += f->group) {
        uint32_t channels = pn_fast_group(f, from);
        pn_fast_weights_t w = pn_fast_weights(f, &bytes, from, channels);
        err = check_group(f, &w, &bytes, channels);
    }
    return err;
}

pn_fast_t pn_fast_layer(const pn_layer_t *l) {
    pn_fast_t f = {
        .cin = l->cin,
        .cexp = l->cexp,
        .cout = l->cout,
        .group = l->group,
        .kernel = l->kernel,
        .shift = l->shift,
        .expands = (l->flags & PN_FLAG_EXPAND) != 0,
        .wide16 = (l->flags & PN_FLAG_WIDE) != 0,
    };
    return f;
}

// The arrays of modes 5 and 6. Whether the layer's shape is one that they know is for the plan's check to say.
static int check_fast_arrays(const pn_model_t *m, const pn_layer_t *l, uint32_t *off) {
    pn_fast_t f = pn_fast_layer(l);
    pn_fast_arrays_t bytes = pn_fast_arrays(&f);
    uint64_t total = bytes.narrow + (uint64_t)l->cexp * bytes.each;
    if (!pn_in_weights(m, *off, total) || l->shift > PN_MAX_SHIFT) {
        return PN_ERR_WEIGHTS;
    }
    const uint8_t *p = pn_array(m, *off);
    *off += (uint32_t)total;
    if (p == NULL) {
        return PN_OK;
    }
    f.narrow = (const int32_t *)(const void *)p;
    f.arrays = p + bytes.narrow;
    return pn_check_fast(&f, 0, l->cexp);
}

int pn_check_layer_arrays(const pn_model_t *m, const pn_layer_t *l, uint32_t *end) {
    uint32_t taps = l->kernel * l->kernel;
    *end = l->weight_off;
    if (l->mode == PN_MODE_FAST || l->mode == PN_MODE_SWEEP) {
        return check_fast_arrays(m, l, end);
    }
    if (l->kind == PN_KIND_CONV) {
        return check_scaled(m, end, l->cout, (uint64_t)l->cout * taps * l->cin, taps * l->cin, 15, l->shift);
    }
    int err = PN_OK;
    if (l->flags & PN_FLAG_EXPAND) {
        err = check_scaled(m, end, l->cexp, (uint64_t)l->cexp * l->cin, l->cin, 15, 0);
    }
    if (err == PN_OK) {
        err = check_scaled(m, end, l->cexp, (uint64_t)l->cexp * taps, taps, 15, 0);
    }
    if (err == PN_OK) {
        err = check_scaled(m, end, l->cout, (uint64_t)l->cexp * l->cout, l->cexp, 15, l->shift);
    }
    return err;
}

int pn_check_dense(const pn_model_t *m, uint32_t *end) {
    const uint8_t *b = m->blob;
    *end = pn_u32(b + PN_HEADER_FC_OFF);
    return check_scaled(m, end, m->classes, (uint64_t)m->classes * m->features, m->features, 14, b[PN_HEADER_FC_SHIFT]);
}

int pn_check_arrays(pn_model_t *m, uint32_t tunnel, uint32_t first, uint32_t n, uint32_t *from, uint32_t *end) {
    pn_layer_t l;
    int err = PN_OK;
    if (n == 0) {
        *from = pn_u32(m->blob + PN_HEADER_FC_OFF);
        m->fault_layer = PN_NO_LAYER;
        return pn_check_dense(m, end);
    }
    *from = UINT32_MAX;
    *end = 0;
    for (uint32_t i = 0; i < first + n && err == PN_OK; i++) {
        pn_layer_read(m, tunnel, i, &l);
        if (i >= first) {
            uint32_t behind;
            m->fault_layer = (uint8_t)i;
            err = pn_check_layer_arrays(m, &l, &behind);
            *from = l.weight_off < *from ? l.weight_off : *from;
            *end = behind > *end ? behind : *end;
        }
    }
    return err;
}
