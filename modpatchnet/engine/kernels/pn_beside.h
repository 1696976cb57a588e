// Pixels that lie side by side: what the portable fast bottleneck (pn_fast.c) is made of, in C and with SSE2, whose
// PMADDWD and packing compilers do not find.
#ifndef PN_BESIDE_H
#define PN_BESIDE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "engine/kernels/pn_kernels.h"

// Pixels at a time, whose sums lie on the stack; there are sums for whole fours of them.
#define PN_BESIDE 16
#define PN_FOURS(n) (((n) + 3u) / 4 * 4)

// Values of pixels: {value, value} of each, `pitch` pixels before the next two values of each. Up to three pixels
// behind the last one are read, and make no difference.
typedef struct {
    const int16_t *at;
    uint32_t pitch, quads;
} pn_values_t;

// A row of a depthwise convolution: bytes, signed or not, 8 of which are read from each place on; of `pairs` of pixels
// beside each other the two weights in a word.
typedef struct {
    const uint8_t *at;
    uint32_t weights[PN_MAX_FAST_KERNEL / 2 + 1];
    uint32_t stride, pairs;
    bool is_signed;
} pn_row_t;

#if defined(__SSE2__)
#include <emmintrin.h>

static inline __m128i pn_load(const void *p) {
    return _mm_loadu_si128((const __m128i *)p);
}

static inline __m128i pn_load8(const void *p) {
    return _mm_loadl_epi64((const __m128i *)p);
}

static inline __m128i pn_madd(__m128i sums, __m128i values, __m128i weights) {
    return _mm_add_epi32(sums, _mm_madd_epi16(values, weights));
}

// For 4 * count pixels. Of bytes, the even ones of a quad go with the first pair of values, the odd ones with the
// second.
static inline __attribute__((always_inline)) void pn_add_fours(pn_values_t x, const uint8_t *w, bool wide16, int count,
    int32_t *a, int32_t *b) {
    __m128i as[4], bs[4];
    for (int k = 0; k < count; k++) {
        as[k] = pn_load(a + 4 * k);
        bs[k] = pn_load(b + 4 * k);
    }
    for (uint32_t i = 0; i < x.quads; i++, w += wide16 ? 16 : 8, x.at += 4 * x.pitch) {
        __m128i bytes = pn_load8(w), lo, hi; // first pairs of a, b; second ones
        if (wide16) {
            bytes = _mm_shuffle_epi32(pn_load(w), 0xd8);
            lo = bytes, hi = _mm_unpackhi_epi64(bytes, bytes);
        } else {
            lo = _mm_srai_epi16(_mm_slli_epi16(bytes, 8), 8);
            hi = _mm_srai_epi16(bytes, 8);
        }
        __m128i a0 = _mm_shuffle_epi32(lo, 0), b0 = _mm_shuffle_epi32(lo, 0x55);
        __m128i a1 = _mm_shuffle_epi32(hi, 0), b1 = _mm_shuffle_epi32(hi, 0x55);
        for (int k = 0; k < count; k++) {
            __m128i one = pn_load(x.at + 8 * k), two = pn_load(x.at + 2 * x.pitch + 8 * k);
            as[k] = pn_madd(pn_madd(as[k], one, a0), two, a1);
            bs[k] = pn_madd(pn_madd(bs[k], one, b0), two, b1);
        }
    }
    for (int k = 0; k < count; k++) {
        _mm_storeu_si128((__m128i *)(void *)(a + 4 * k), as[k]);
        _mm_storeu_si128((__m128i *)(void *)(b + 4 * k), bs[k]);
    }
}

static inline __attribute__((always_inline)) void pn_add_by(pn_values_t x, const uint8_t *w, bool wide16, uint32_t n,
    int32_t *a, int32_t *b) {
    switch ((n + 3) / 4) {
        case 1:
            pn_add_fours(x, w, wide16, 1, a, b);
            break;
        case 2:
            pn_add_fours(x, w, wide16, 2, a, b);
            break;
        case 3:
            pn_add_fours(x, w, wide16, 3, a, b);
            break;
        case 4:
            pn_add_fours(x, w, wide16, 4, a, b);
            break;
    }
}

// a[i], b[i] += the products of pixel i's values and the weights of two outputs: for each two pairs of values a quad
// for `a` and one for `b` (FORMAT.md, Fast schedules).
static inline void pn_add_values(pn_values_t x, const uint8_t *w, bool wide16, uint32_t n, int32_t *a, int32_t *b) {
    if (wide16) {
        pn_add_by(x, w, true, n, a, b);
    } else {
        pn_add_by(x, w, false, n, a, b);
    }
}

// Four channels of `n` pixels, `step` bytes from one to the next, as pairs of values: of the even ones, of the odd ones.
static inline void pn_spread(const int8_t *at, int step, uint32_t n, int16_t *even, int16_t *odd) {
    for (uint32_t i = 0; i < n; i += 4) {
        int32_t w[4];
        for (uint32_t k = 0; k < 4; k++) {
            memcpy(&w[k], at, 4);
            at += i + k + 1 < n ? step : 0;
        }
        __m128i v = _mm_set_epi32(w[3], w[2], w[1], w[0]);
        _mm_storeu_si128((__m128i *)(void *)(even + 2 * i), _mm_srai_epi16(_mm_slli_epi16(v, 8), 8));
        _mm_storeu_si128((__m128i *)(void *)(odd + 2 * i), _mm_srai_epi16(v, 8));
    }
}

static inline __attribute__((always_inline)) __m128i pn_beside(const pn_row_t *row, const uint8_t *at, bool by_two) {
    __m128i bytes = pn_load8(at), above = row->is_signed ? bytes : _mm_setzero_si128();
    __m128i v = row->is_signed ? _mm_srai_epi16(_mm_unpacklo_epi8(above, bytes), 8) : _mm_unpacklo_epi8(bytes, above);
    return by_two ? v : _mm_unpacklo_epi16(v, _mm_srli_si128(v, 2));
}

// sums[i] += the products of the row's pixels from i * stride on and the weights.
static inline void pn_add_row(const pn_row_t *row, uint32_t n, int32_t *sums) {
    for (uint32_t i = 0; i < n; i += 4) {
        const uint8_t *at = row->at + i * row->stride;
        __m128i out = pn_load(sums + i);
        for (uint32_t p = 0; p < row->pairs; p++, at += 2) {
            __m128i values = row->stride == 2 ? pn_beside(row, at, true) : pn_beside(row, at, false);
            out = pn_madd(out, values, _mm_set1_epi32((int32_t)row->weights[p]));
        }
        _mm_storeu_si128((__m128i *)(void *)(sums + i), out);
    }
}

static inline __m128i pn_wide_four(const int32_t *sums, __m128i m, int shift) {
    const __m128i half = _mm_set_epi32(0, INT32_MIN, 0, INT32_MIN), upper = _mm_set_epi32(-1, 0, -1, 0);
    __m128i v = pn_load(sums);
    v = _mm_slli_epi32(_mm_and_si128(v, _mm_cmpgt_epi32(v, _mm_setzero_si128())), shift);
    __m128i even = _mm_srli_epi64(_mm_add_epi64(_mm_mul_epu32(v, m), half), 32);
    __m128i odd = _mm_add_epi64(_mm_mul_epu32(_mm_srli_epi64(v, 32), m), half);
    return _mm_or_si128(even, _mm_and_si128(odd, upper));
}

// Values of 0..255 of `n` sums, as pn_wide has them, for whole eights.
static inline void pn_wide_ends(const int32_t *sums, uint32_t n, int shift, int32_t mult, uint8_t *out) {
    __m128i m = _mm_set1_epi32(mult);
    for (uint32_t i = 0; i < n; i += 8) {
        __m128i v = _mm_packs_epi32(pn_wide_four(sums + i, m, shift), pn_wide_four(sums + i + 4, m, shift));
        _mm_storel_epi64((__m128i *)(void *)(out + i), _mm_packus_epi16(v, v));
    }
}
#else
static void pn_add_values(pn_values_t x, const uint8_t *w, bool wide16, uint32_t n, int32_t *a, int32_t *b) {
    uint32_t size = wide16 ? 2 : 1;
    for (uint32_t i = 0; i < x.quads; i++, w += 8 * size, x.at += 4 * x.pitch) {
        const int16_t *two = x.at + 2 * x.pitch;
        int wa[4], wb[4]; // as the values go
        for (uint32_t k = 0; k < 4; k++) {
            uint32_t place = wide16 ? 2 * k : k / 2 + k % 2 * 2;
            wa[k] = (int8_t)w[place];
            wb[k] = (int8_t)w[place + 4 * size];
        }
        for (uint32_t k = 0; k < n; k++) {
            a[k] += x.at[2 * k] * wa[0] + x.at[2 * k + 1] * wa[1] + two[2 * k] * wa[2] + two[2 * k + 1] * wa[3];
            b[k] += x.at[2 * k] * wb[0] + x.at[2 * k + 1] * wb[1] + two[2 * k] * wb[2] + two[2 * k + 1] * wb[3];
        }
    }
}

static void pn_spread(const int8_t *at, int step, uint32_t n, int16_t *even, int16_t *odd) {
    for (uint32_t i = 0; i < n; i++, at += step) {
        even[2 * i] = at[0];
        even[2 * i + 1] = at[2];
        odd[2 * i] = at[1];
        odd[2 * i + 1] = at[3];
    }
}

static void pn_add_row(const pn_row_t *row, uint32_t n, int32_t *sums) {
    for (uint32_t p = 0; p < 2 * row->pairs; p++) {
        for (uint32_t i = 0; i < n; i++) {
            const uint8_t *at = row->at + p + i * row->stride;
            sums[i] += (int16_t)(row->weights[p / 2] >> (p % 2 * 16)) * (row->is_signed ? (int8_t)*at : *at);
        }
    }
}

// Those of sums below 0 are 0 anyway, and products without a sign are what compilers bring into vectors.
static void pn_wide_ends(const int32_t *restrict sums, uint32_t n, int shift, int32_t mult, uint8_t *restrict out) {
    for (uint32_t i = 0; i < n; i++) {
        uint32_t positive = sums[i] > 0 ? (uint32_t)sums[i] : 0;
        uint32_t v = (uint32_t)(((uint64_t)(positive << shift) * (uint32_t)mult + 0x80000000u) >> 32);
        out[i] = (uint8_t)(v > 255 ? 255 : v);
    }
}
#endif

#endif
