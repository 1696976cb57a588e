// Sums over many values with SIMD instructions: pooling, dot products.
#include "engine/kernels/pn_kernels.h"

#if PN_DSP

#include <string.h>

static uint32_t word(const int8_t *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

// Bytes 0 and 2 of x in 16-bit halves, or bytes 1 and 3
static inline uint32_t even(uint32_t x) {
    __asm__("sxtb16 %0, %1" : "=r" (x) : "r" (x));
    return x;
}

static inline uint32_t odd(uint32_t x) {
    __asm__("sxtb16 %0, %1, ror #8" : "=r" (x) : "r" (x));
    return x;
}

// The same, added to v
static inline uint32_t add_even(uint32_t v, uint32_t x) {
    __asm__("sxtab16 %0, %1, %2" : "=r" (v) : "r" (v), "r" (x));
    return v;
}

static inline uint32_t add_odd(uint32_t v, uint32_t x) {
    __asm__("sxtab16 %0, %1, %2, ror #8" : "=r" (v) : "r" (v), "r" (x));
    return v;
}

static inline int32_t smlad(uint32_t x, uint32_t y, int32_t acc) {
    __asm__("smlad %0, %1, %2, %3" : "=r" (acc) : "r" (x), "r" (y), "r" (acc));
    return acc;
}

// 4 channels of a pixel: 4 instructions. Sums of 128 pixels fit 16 bits.
static void pool4(const int8_t *in, int n, int step, int zero, int32_t *acc) {
    while (n > 0) {
        int part = n < 128 ? n : 128;
        uint32_t lo = 0, hi = 0;
        for (int i = 0; i < part; i++, in += step) {
            lo = add_even(lo, word(in));
            hi = add_odd(hi, word(in));
        }
        acc[0] += (int16_t)lo - zero * part;
        acc[1] += (int16_t)hi - zero * part;
        acc[2] += ((int32_t)lo >> 16) - zero * part;
        acc[3] += ((int32_t)hi >> 16) - zero * part;
        n -= part;
    }
}

void pn_pool_add(const int8_t *in, int n, int channels, int zero, int32_t *acc) {
    int c = 0;
    for (; c + 4 <= channels; c += 4) {
        pool4(in + c, n, channels, zero, acc + c);
    }
    for (; c < channels; c++) {
        for (int i = 0; i < n; i++) {
            acc[c] += in[i * channels + c] - zero;
        }
    }
}

// 8 instructions for 4 products, and what the loop takes.
static inline int32_t dot4(const int8_t *a, const int8_t *b, int32_t acc) {
    uint32_t x = word(a), y = word(b);
    acc = smlad(even(x), even(y), acc);
    return smlad(odd(x), odd(y), acc);
}

int32_t pn_dot(const int8_t *a, const int8_t *b, int n, int32_t bias) {
    for (; n >= 16; n -= 16, a += 16, b += 16) {
        bias = dot4(a, b, bias);
        bias = dot4(a + 4, b + 4, bias);
        bias = dot4(a + 8, b + 8, bias);
        bias = dot4(a + 12, b + 12, bias);
    }
    for (; n >= 4; n -= 4, a += 4, b += 4) {
        bias = dot4(a, b, bias);
    }
    while (n-- > 0) {
        bias += *a++ * *b++;
    }
    return bias;
}

#endif
