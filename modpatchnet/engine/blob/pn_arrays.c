#include "engine/blob/pn_arrays.h"

#include "engine/blob/pn_blob.h"
#include "engine/blob/pn_container.h"

// A bias and a multiplier, wherever they lie; see pn_check_scaled. There are at most PN_MAX_REDUCTION products: 32 bits
// hold it all.
static int check_scale(const uint8_t *bias_at, const uint8_t *mult_at, uint32_t products, int bits, int shift) {
    int32_t bias = (int32_t)pn_u32(bias_at), room = (INT32_MAX >> shift) - (int32_t)(products << bits);
    if (bias > room || bias < -room) {
        return PN_ERR_OVERFLOW;
    }
    return (int32_t)pn_u32(mult_at) > 0 ? PN_OK : PN_ERR_WEIGHTS;
}

int pn_check_scaled(const uint8_t *p, uint32_t n, uint32_t products, int bits, int shift) {
    int err = PN_OK;
    for (uint32_t i = 0; i < n && err == PN_OK; i++) {
        err = check_scale(p + 4 * i, p + 4 * (n + i), products, bits, shift);
    }
    return err;
}

// Whether the weights of inputs that only make `inputs` a multiple of four are zero, at `end` of a pair of outputs,
// where they are the last of c0 c2 c1 c3.
static bool rest_ok(uint32_t inputs, const uint8_t *end) {
    uint32_t some = 0;
    for (uint32_t i = inputs % 4; i % 4 > 0; i++) {
        some |= pn_u16(end - 8 + 2 * (i < 3 ? 3 - i : i));
    }
    return some == 0;
}

int pn_check_pairs(const uint8_t *p, uint32_t n, uint32_t products, int shift) {
    uint32_t weights = 8 * ((products + 3) / 4), bytes = pn_pair_bytes((products + 3) / 4);
    int err = PN_OK;
    for (uint32_t i = 0; i < n + n % 2 && err == PN_OK; i++) {
        const uint8_t *pair = p + i / 2 * bytes, *scale = pair + weights + i % 2 * 4;
        err = check_scale(scale, scale + 8, products, 15, shift);
        err = err ? err : rest_ok(products, pair + weights) ? PN_OK : PN_ERR_WEIGHTS;
    }
    return err;
}

// Whether arrays of `bytes` at *off are among the weights, and their shift is one: *p is where they are in memory, NULL
// if they are not there, and *off moves behind them.
static int find_arrays(const pn_model_t *m, uint32_t *off, uint64_t bytes, int shift, const uint8_t **p) {
    if (!pn_in_weights(m, *off, bytes) || shift > PN_MAX_SHIFT) {
        return PN_ERR_WEIGHTS;
    }
    *p = pn_array(m, *off);
    *off += (uint32_t)bytes;
    return PN_OK;
}

// Checks the arrays at *off (n outputs, `weights` weights, see pn_check_scaled) and moves *off behind them. This and
// those below leave out what is not in memory.
static int check_scaled(const pn_model_t *m, uint32_t *off, uint32_t n, uint64_t weights, uint32_t products, int bits,
    int shift) {
    const uint8_t *p = NULL;
    int err = find_arrays(m, off, 8ull * n + ((weights + 3) & ~3ull), shift, &p);
    return p == NULL ? err : pn_check_scaled(p, n, products, bits, shift);
}

// Whether what makes a channel's depthwise weights up to words is zero, and what stands there twice is the same: every
// kernel reads what suits it.
static bool taps_ok(const pn_fast_t *f, const uint8_t *w) {
    bool ok = true;
    if (f->kernel == 3 && (f->stride == 2 || f->expands)) {
        uint32_t end = pn_u32(w + 8);
        return f->stride == 2 ? end <= UINT8_MAX : (end & 0xff00ff00) == 0 && w[7] == w[8];
    }
    for (uint32_t i = 0; i < f->kernel * (f->kernel - 1u) * 2; i += 4) {
        bool first = i % (2 * (f->kernel - 1u)) == 0; // of a line
        ok = ok && w[i + 1] == w[i + 2] && (first || w[i] == w[i - 1]);
    }
    return ok;
}

// The biases and multipliers of the projection.
static int check_narrow(const pn_fast_t *f) {
    int err = PN_OK;
    for (uint32_t i = 0; i < f->cout && err == PN_OK; i++) {
        const uint8_t *record = (const uint8_t *)f->narrow + i / 2 * 16 + i % 2 * 4;
        err = check_scale(record, record + 8, f->cexp, 15, f->shift);
    }
    return err;
}

// The arrays of a group of `n` channels.
static int check_group(const pn_fast_t *f, const pn_fast_weights_t *w, const pn_fast_arrays_t *bytes, uint32_t n) {
    uint32_t taps = (uint32_t)f->kernel * f->kernel;
    int err = PN_OK;
    for (uint32_t c = 0; c < n && err == PN_OK; c++) {
        const uint8_t *pair = w->expand + c / 2 * bytes->pair, *e = pair + c % 2 * 4;
        const uint8_t *d = w->depthwise + (c + 1) * bytes->channel - 8;
        err = f->expands ? check_scale(e, e + 8, f->cin, 15, f->shift_expand) : PN_OK;
        err = err ? err : check_scale(d, d + 4, taps, 15, f->shift_depthwise);
        bool good = taps_ok(f, d + 8 - bytes->channel) && (!f->expands || rest_ok(f->cin, pair + bytes->pair));
        err = err ? err : good ? PN_OK : PN_ERR_WEIGHTS;
    }
    return err;
}

// Adds what the largest depthwise values make of the projection's weights for `n` channels to the largest and the least
// sum of output `output`.
static void add_bounds(const uint8_t *w, uint32_t n, uint32_t output, int32_t *most, int32_t *least) {
    w += output / 2 * 2 * n;
    for (uint32_t c = 0; c < n; c++, w += 2) {
        pn_two_t two = pn_two(w);
        int32_t weight = output % 2 ? two.b : two.a;
        *(weight > 0 ? most : least) += 255 * weight;
    }
}

// Whether no sum over the channels from..from+n-1, or over some of them, leaves 24 bits.
static bool narrow_sums_ok(const pn_fast_t *f, const pn_fast_arrays_t *bytes, uint32_t from, uint32_t n) {
    bool ok = true;
    for (uint32_t output = 0; output < f->cout && ok; output++) {
        int32_t most = f->narrow[output / 2 * 4 + output % 2], least = most;
        for (uint32_t c = from; c < from + n; c += f->group) {
            uint32_t channels = pn_fast_group(f, c);
            add_bounds(pn_fast_weights(f, bytes, c, channels).project, channels, output, &most, &least);
        }
        ok = most < 1 << 23 && least >= -(1 << 23);
    }
    return ok;
}

int pn_check_fast(const pn_fast_t *f, uint32_t from, uint32_t n) {
    pn_fast_arrays_t bytes = pn_fast_arrays(f);
    int err = check_narrow(f);
    for (uint32_t at = from; at < from + n && err == PN_OK; at += f->group) {
        uint32_t channels = pn_fast_group(f, at);
        pn_fast_weights_t w = pn_fast_weights(f, &bytes, at, channels);
        err = check_group(f, &w, &bytes, channels);
    }
    return err == PN_OK && f->sums24 && !narrow_sums_ok(f, &bytes, from, n) ? PN_ERR_OVERFLOW : err;
}

pn_fast_t pn_fast_layer(const pn_layer_t *l) {
    pn_fast_t f = {
        .cin = l->cin,
        .cexp = l->cexp,
        .cout = l->cout,
        .group = l->group,
        .kernel = l->y.kernel,
        .stride = l->y.stride,
        .shift = l->shift,
        .shift_expand = l->shift_1,
        .shift_depthwise = l->shift_2,
        .expands = (l->flags & PN_FLAG_EXPAND) != 0,
        .sums24 = (l->flags & PN_FLAG_NARROW) != 0,
    };
    return f;
}

// The arrays of modes 5 and 6. Whether the layer's shape is one that they know is for the plan's check to say.
static int check_fast_arrays(const pn_model_t *m, const pn_layer_t *l, uint32_t *off) {
    pn_fast_t f = pn_fast_layer(l);
    pn_fast_arrays_t bytes = pn_fast_arrays(&f);
    uint64_t total = bytes.narrow + (uint64_t)l->cexp * bytes.each;
    bool shifts_ok = l->shift <= PN_MAX_SHIFT && l->shift_1 <= PN_FAST_SHIFT && l->shift_2 <= PN_FAST_SHIFT;
    if (!pn_in_weights(m, *off, total) || !shifts_ok) {
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

// The multiplier alone; sums of `taps` values.
static int check_mean(const pn_model_t *m, const pn_layer_t *l, uint32_t taps, uint32_t *end) {
    if (!pn_in_weights(m, *end, 4) || l->shift > PN_MAX_SHIFT) {
        return PN_ERR_WEIGHTS;
    }
    const uint8_t *p = pn_array(m, *end);
    *end += 4;
    if (p != NULL && (int32_t)pn_u32(p) <= 0) {
        return PN_ERR_WEIGHTS;
    }
    return ((uint64_t)taps * 255) << l->shift > INT32_MAX ? PN_ERR_OVERFLOW : PN_OK;
}

#ifdef PN_NO_FLOAT32
#define check_floats(m, off, n, products) PN_OK
#else
// Biases and weights of `n` outputs, `products` each, any numbers.
static PN_APART int check_floats(const pn_model_t *m, uint32_t *off, uint32_t n, uint32_t products) {
    uint64_t bytes = 4ull * n * (1 + products);
    if (!pn_in_weights(m, *off, bytes)) {
        return PN_ERR_WEIGHTS;
    }
    *off += (uint32_t)bytes;
    return PN_OK;
}
#endif

// `n` outputs of `products` each.
static int check_dense(const pn_model_t *m, uint32_t *off, uint32_t n, uint32_t products, int shift) {
    return pn_floats(m) ? check_floats(m, off, n, products)
                        : check_scaled(m, off, n, (uint64_t)n * products, products, 15, shift);
}

// `n` outputs of a convolution or block, `products` each.
static int check_conv(const pn_model_t *m, const pn_layer_t *l, uint32_t *off, uint32_t n, uint32_t products,
    int shift) {
    if (!pn_paired(l->flags)) {
        return check_dense(m, off, n, products, shift);
    }
    const uint8_t *p = NULL;
    int err = find_arrays(m, off, (uint64_t)(n + 1) / 2 * pn_pair_bytes((products + 3) / 4), shift, &p);
    return p == NULL ? err : pn_check_pairs(p, n, products, shift);
}

int pn_check_layer_arrays(const pn_model_t *m, const pn_layer_t *l, uint32_t *end) {
    uint32_t taps = (uint32_t)l->y.kernel * l->x.kernel, second = (uint32_t)l->y.second * l->x.second * l->cexp;
    bool expand = l->flags & PN_FLAG_EXPAND;
    int err = PN_OK;
    *end = l->weight_off;
    if (pn_fast_mode(l->mode) && !pn_floats(m)) {
        return check_fast_arrays(m, l, end);
    }
    switch (l->kind) {
        case PN_KIND_CONV:
            return check_conv(m, l, end, l->cout, taps * l->cin, l->shift);
        case PN_KIND_BOTTLENECK:
            err = expand ? check_dense(m, end, l->cexp, l->cin, l->shift_1) : PN_OK;
            err = err ? err : check_dense(m, end, l->cexp, taps, l->shift_2);
            return err ? err : check_dense(m, end, l->cout, l->cexp, l->shift);
        case PN_KIND_BLOCK:
            err = check_conv(m, l, end, l->cexp, taps * l->cin, l->shift_1);
            err = err ? err : check_conv(m, l, end, l->cout, second, l->shift);
            return err || !expand ? err : check_conv(m, l, end, l->cout, l->cin, l->shift_2);
        case PN_KIND_MEANPOOL:
            return pn_floats(m) ? PN_OK : check_mean(m, l, taps, end);
        default: // a maximum and casts take no weights
            return PN_OK;
    }
}

int pn_check_dense(const pn_model_t *m, uint32_t *end) {
    const uint8_t *b = m->blob;
    *end = pn_u32(b + PN_HEADER_FC_OFF);
    if (pn_floats(m)) {
        return check_floats(m, end, m->classes, m->features);
    }
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
            if (behind > l.weight_off) {
                *from = l.weight_off < *from ? l.weight_off : *from;
                *end = behind > *end ? behind : *end;
            }
        }
    }
    *from = *end ? *from : 0;
    return err;
}
