// Pixels that lie side by side: what the portable fast bottleneck (pn_fast.c) is made of, in C and with SSE2, whose
// PMADDWD and packing compilers do not find.
#ifndef PN_BESIDE_H
#define PN_BESIDE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "engine/kernels/pn_fast.h"
#include "engine/kernels/pn_sse2.h"

// Pixels at a time, whose sums lie on the stack; there are sums for whole eights of them. PN_BESIDE_ROOM: values of
// input lines that the stack has room for, too.
#if defined(__SSE2__)
#define PN_BESIDE 64
#define PN_BESIDE_ROOM 16384
#define PN_ROW_SPILL 32 // bytes that are written behind a row
#else
#define PN_BESIDE 16
#define PN_BESIDE_ROOM 1
#define PN_ROW_SPILL 0
#endif
#define PN_FOURS(n) (((n) + 3u) / 4 * 4)

// Values of pixels: {value, value} of each, `pitch` pixels before the next two values of each. Up to three pixels
// behind the last one are read, and make no difference.
typedef struct {
    const int16_t *at;
    uint32_t pitch, quads;
} pn_values_t;

// Bytes of a row that `n` pixels of a depthwise convolution are made of, or that are read with them.
#define PN_ROW(n, stride) ((n) * (stride) + 2u * PN_MAX_FAST_KERNEL + 2u)

// The kernel of a depthwise convolution: of pairs of pixels beside each other the two weights in a word. Pixels are
// bytes, signed or not.
typedef struct {
    uint32_t weights[PN_MAX_FAST_KERNEL][PN_MAX_FAST_KERNEL / 2 + 1];
    uint32_t size, stride;
    int32_t bias, mult;
    int shift;
    bool is_signed;
} pn_kernel_t;
typedef uint8_t pn_row_t[PN_ROW(PN_BESIDE, 2) + PN_ROW_SPILL];

#if defined(__SSE2__)
// memcpy for rows, without a call.
static inline void pn_copy_row(uint8_t *to, const uint8_t *from, uint32_t n) {
    if (n >= 16) {
        for (uint32_t i = 0; i < n - 16; i += 16) {
            pn_store(to + i, pn_load(from + i));
        }
        pn_store(to + n - 16, pn_load(from + n - 16));
    } else if (n >= 8) {
        __m128i last = pn_load8(from + n - 8);
        pn_store8(to, pn_load8(from));
        pn_store8(to + n - 8, last);
    } else if (n >= 4) {
        memcpy(to, from, 4);
        memcpy(to + n - 4, from + n - 4, 4);
    } else {
        for (uint32_t i = 0; i < n; i++) {
            to[i] = from[i];
        }
    }
}

// `n` bytes of a row, and others `around` them: `before` (up to 15), and up to `bytes` in all.
static inline void pn_put_row(uint8_t *out, int around, uint32_t before, const uint8_t *from, uint32_t n,
    uint32_t bytes) {
    __m128i v = _mm_set1_epi8((char)around);
    pn_store(out, v);
    pn_copy_row(out + before, from, n);
    for (uint32_t at = before + n; at < bytes; at += 16) {
        pn_store(out + at, v);
    }
}

// For 4 * count pixels.
static inline __attribute__((always_inline)) void pn_add_fours(pn_values_t x, const uint8_t *w, int count, int32_t *a,
    int32_t *b) {
    __m128i as[4], bs[4];
    for (int k = 0; k < count; k++) {
        as[k] = pn_load(a + 4 * k);
        bs[k] = pn_load(b + 4 * k);
    }
    for (uint32_t i = 0; i < x.quads; i++, w += 8, x.at += 4 * x.pitch) {
        __m128i both = pn_load8(w), wa = pn_first_of(both), wb = pn_second_of(both);
        __m128i a0 = _mm_shuffle_epi32(wa, 0), b0 = _mm_shuffle_epi32(wb, 0);
        __m128i a1 = _mm_shuffle_epi32(wa, 0x55), b1 = _mm_shuffle_epi32(wb, 0x55);
        for (int k = 0; k < count; k++) {
            __m128i one = pn_load(x.at + 8 * k), two = pn_load(x.at + 2 * x.pitch + 8 * k);
            as[k] = pn_madd(pn_madd(as[k], one, a0), two, a1);
            bs[k] = pn_madd(pn_madd(bs[k], one, b0), two, b1);
        }
    }
    for (int k = 0; k < count; k++) {
        pn_store(a + 4 * k, as[k]);
        pn_store(b + 4 * k, bs[k]);
    }
}

// a[i], b[i] += the products of pixel i's values and the weights of two outputs, which have four words of 16 bits for
// each two pairs of values (FORMAT.md, Fast schedules).
static void pn_add_values(pn_values_t x, const uint8_t *w, uint32_t n, int32_t *a, int32_t *b) {
    uint32_t fours = (n + 3) / 4, parts = (fours + 3) / 4, each = (fours + parts - 1) / parts;
    for (; fours > 0; fours -= each, a += 4 * each, b += 4 * each, x.at += 8 * each) {
        each = fours < each ? fours : each;
        switch (each) {
            case 1:
                pn_add_fours(x, w, 1, a, b);
                break;
            case 2:
                pn_add_fours(x, w, 2, a, b);
                break;
            case 3:
                pn_add_fours(x, w, 3, a, b);
                break;
            case 4:
                pn_add_fours(x, w, 4, a, b);
                break;
        }
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
        pn_store(even + 2 * i, _mm_srai_epi16(_mm_slli_epi16(v, 8), 8));
        pn_store(odd + 2 * i, _mm_srai_epi16(v, 8));
    }
}

// Values of 0..255 of four sums, as pn_wide has them.
static inline __m128i pn_wide_four(__m128i v, __m128i m, int shift) {
    const __m128i half = _mm_set_epi32(0, INT32_MIN, 0, INT32_MIN), upper = _mm_set_epi32(-1, 0, -1, 0);
    v = _mm_slli_epi32(_mm_and_si128(v, _mm_cmpgt_epi32(v, _mm_setzero_si128())), shift);
    __m128i even = _mm_srli_epi64(_mm_add_epi64(_mm_mul_epu32(v, m), half), 32);
    __m128i odd = _mm_add_epi64(_mm_mul_epu32(_mm_srli_epi64(v, 32), m), half);
    return _mm_or_si128(even, _mm_and_si128(odd, upper));
}

static inline void pn_put_wide(__m128i lo, __m128i hi, uint8_t *out) {
    __m128i v = _mm_packs_epi32(lo, hi);
    pn_store8(out, _mm_packus_epi16(v, v));
}

// Those of `n` sums, for whole eights.
static inline void pn_wide_ends(const int32_t *sums, uint32_t n, int shift, int32_t mult, uint8_t *out) {
    __m128i m = _mm_set1_epi32(mult);
    for (uint32_t i = 0; i < n; i += 8) {
        __m128i lo = pn_wide_four(pn_load(sums + i), m, shift);
        pn_put_wide(lo, i + 4 < n ? pn_wide_four(pn_load(sums + i + 4), m, shift) : lo, out + i);
    }
}

static inline __attribute__((always_inline)) __m128i pn_eight(const uint8_t *at, bool is_signed) {
    __m128i bytes = pn_load8(at);
    return is_signed ? pn_signed(bytes) : _mm_unpacklo_epi8(bytes, _mm_setzero_si128());
}

// Four values from pixel `i` on, or eight.
static inline __attribute__((always_inline)) void pn_under(const pn_kernel_t *w, pn_row_t *rows, uint32_t i,
    uint32_t kernel, uint32_t stride, bool is_signed, bool both, uint8_t *out) {
    __m128i lo = _mm_set1_epi32(w->bias), hi = lo, m = _mm_set1_epi32(w->mult);
    for (uint32_t line = 0; line < kernel; line++) {
        for (uint32_t k = 0; k < kernel; k += 2) {
            const uint8_t *at = rows[line] + i * stride + k;
            __m128i one = pn_eight(at, is_signed), weights = _mm_set1_epi32((int32_t)w->weights[line][k / 2]);
            if (stride == 2) {
                lo = pn_madd(lo, one, weights);
                hi = both ? pn_madd(hi, pn_eight(at + 8, is_signed), weights) : hi;
            } else {
                __m128i two = k + 1 < kernel ? pn_eight(at + 1, is_signed) : _mm_setzero_si128();
                lo = pn_madd(lo, _mm_unpacklo_epi16(one, two), weights);
                hi = both ? pn_madd(hi, _mm_unpackhi_epi16(one, two), weights) : hi;
            }
        }
    }
    lo = pn_wide_four(lo, m, w->shift);
    pn_put_wide(lo, both ? pn_wide_four(hi, m, w->shift) : lo, out + i);
}

static inline __attribute__((always_inline)) void pn_under_by(const pn_kernel_t *w, pn_row_t *rows, uint32_t n,
    uint32_t kernel, uint32_t stride, bool is_signed, uint8_t *out) {
    uint32_t i = 0;
    for (; i + 4 < n; i += 8) {
        pn_under(w, rows, i, kernel, stride, is_signed, true, out);
    }
    if (i < n) {
        pn_under(w, rows, i, kernel, stride, is_signed, false, out);
    }
}

// Depthwise values of `n` pixels, for whole eights: of what lies under the kernel from i * stride on.
static void pn_depthwise_beside(const pn_kernel_t *w, pn_row_t *rows, uint32_t n, uint8_t *out) {
    switch (w->size * 4 + w->stride * 2 - 2 + w->is_signed) {
        case 12:
            pn_under_by(w, rows, n, 3, 1, false, out);
            break;
        case 13:
            pn_under_by(w, rows, n, 3, 1, true, out);
            break;
        case 14:
            pn_under_by(w, rows, n, 3, 2, false, out);
            break;
        case 15:
            pn_under_by(w, rows, n, 3, 2, true, out);
            break;
        case 20:
            pn_under_by(w, rows, n, 5, 1, false, out);
            break;
        case 22:
            pn_under_by(w, rows, n, 5, 2, false, out);
            break;
        case 28:
            pn_under_by(w, rows, n, 7, 1, false, out);
            break;
        case 30:
            pn_under_by(w, rows, n, 7, 2, false, out);
            break;
    }
}

// Values of two channels as pairs.
static inline void pn_pairs(const uint8_t *a, const uint8_t *b, uint32_t n, int16_t *out) {
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        __m128i bytes = _mm_unpacklo_epi8(pn_load4(a + i), pn_load4(b + i));
        pn_store(out + 2 * i, _mm_unpacklo_epi8(bytes, _mm_setzero_si128()));
    }
    for (; i < n; i++) {
        out[2 * i] = a[i];
        out[2 * i + 1] = b[i];
    }
}
#else
static void pn_copy_row(uint8_t *to, const uint8_t *from, uint32_t n) {
    memcpy(to, from, n);
}

static void pn_put_row(uint8_t *out, int around, uint32_t before, const uint8_t *from, uint32_t n, uint32_t bytes) {
    memset(out, around, bytes);
    if (n > 0) {
        memcpy(out + before, from, n);
    }
}

static void pn_add_values(pn_values_t x, const uint8_t *w, uint32_t n, int32_t *a, int32_t *b) {
    for (uint32_t i = 0; i < x.quads; i++, w += 8, x.at += 4 * x.pitch) {
        const int16_t *one = x.at, *two = x.at + 2 * x.pitch;
        pn_two_t w0 = pn_two(w), w1 = pn_two(w + 2), w2 = pn_two(w + 4), w3 = pn_two(w + 6);
        for (uint32_t k = 0; k < n; k++, one += 2, two += 2) {
            a[k] += one[0] * w0.a + one[1] * w1.a + two[0] * w2.a + two[1] * w3.a;
            b[k] += one[0] * w0.b + one[1] * w1.b + two[0] * w2.b + two[1] * w3.b;
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

// Those of sums below 0 are 0 anyway, and products without a sign are what compilers bring into vectors.
static void pn_wide_ends(const int32_t *restrict sums, uint32_t n, int shift, int32_t mult, uint8_t *restrict out) {
    for (uint32_t i = 0; i < n; i++) {
        uint32_t positive = sums[i] > 0 ? (uint32_t)sums[i] : 0;
        uint32_t v = (uint32_t)(((uint64_t)(positive << shift) * (uint32_t)mult + 0x80000000u) >> 32);
        out[i] = (uint8_t)(v > 255 ? 255 : v);
    }
}

static void pn_depthwise_beside(const pn_kernel_t *w, pn_row_t *rows, uint32_t n, uint8_t *out) {
    int32_t sums[PN_BESIDE];
    for (uint32_t i = 0; i < n; i++) {
        sums[i] = w->bias;
    }
    for (uint32_t tap = 0; tap < w->size * w->size; tap++) {
        uint32_t line = tap / w->size, pixel = tap % w->size;
        int weight = (int16_t)(w->weights[line][pixel / 2] >> (pixel % 2 * 16));
        for (uint32_t i = 0; i < n; i++) {
            uint8_t v = rows[line][pixel + i * w->stride];
            sums[i] += weight * (w->is_signed ? (int8_t)v : v);
        }
    }
    pn_wide_ends(sums, n, w->shift, w->mult, out);
}

static void pn_pairs(const uint8_t *a, const uint8_t *b, uint32_t n, int16_t *out) {
    for (uint32_t i = 0; i < n; i++) {
        out[2 * i] = a[i];
        out[2 * i + 1] = b[i];
    }
}
#endif

#endif
