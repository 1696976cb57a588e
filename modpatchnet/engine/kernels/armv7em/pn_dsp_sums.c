// Sums over many values with SIMD instructions: pooling, dot products.
#include "engine/kernels/pn_kernels.h"

#if PN_DSP

#include <string.h>

static uint32_t word(const void *p) {
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

static inline int32_t smlad(uint32_t x, uint32_t y, int32_t acc) {
    __asm__("smlad %0, %1, %2, %3" : "=r" (acc) : "r" (x), "r" (y), "r" (acc));
    return acc;
}

// The same of values 0..255
static inline uint32_t even_unsigned(uint32_t x) {
    __asm__("uxtb16 %0, %1" : "=r" (x) : "r" (x));
    return x;
}

static inline uint32_t odd_unsigned(uint32_t x) {
    __asm__("uxtb16 %0, %1, ror #8" : "=r" (x) : "r" (x));
    return x;
}

// acc + lower or upper halves of x and y
static inline int32_t smlabb(uint32_t x, uint32_t y, int32_t acc) {
    __asm__("smlabb %0, %1, %2, %3" : "=r" (acc) : "r" (x), "r" (y), "r" (acc));
    return acc;
}

static inline int32_t smlatt(uint32_t x, uint32_t y, int32_t acc) {
    __asm__("smlatt %0, %1, %2, %3" : "=r" (acc) : "r" (x), "r" (y), "r" (acc));
    return acc;
}

// Lower halves of x and y, or their upper ones, in one word
static inline uint32_t lower(uint32_t x, uint32_t y) {
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r" (x) : "r" (x), "r" (y));
    return x;
}

static inline uint32_t upper(uint32_t x, uint32_t y) {
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r" (x) : "r" (y), "r" (x));
    return x;
}

void pn_add_products(const uint8_t *in, bool is_signed, const int8_t *weight, int n, int32_t *acc) {
    for (; n >= 4; n -= 4, in += 4, weight += 4, acc += 4) {
        uint32_t x = word(in), y = word(weight);
        uint32_t xe = is_signed ? even(x) : even_unsigned(x), xo = is_signed ? odd(x) : odd_unsigned(x);
        uint32_t ye = even(y), yo = odd(y);
        acc[0] = smlabb(xe, ye, acc[0]);
        acc[1] = smlabb(xo, yo, acc[1]);
        acc[2] = smlatt(xe, ye, acc[2]);
        acc[3] = smlatt(xo, yo, acc[3]);
    }
    for (int i = 0; i < n; i++) {
        acc[i] += (is_signed ? (int8_t)in[i] : in[i]) * weight[i];
    }
}

// Two values, each in a half
static inline uint32_t two(const uint8_t *in, bool is_signed) {
    uint32_t x = in[0] | (uint32_t)in[1] << 16;
    return is_signed ? even(x) : x;
}

// Of four outputs: two values at a time, whose weights go together.
static void four_rows(const uint8_t *in, bool is_signed, int count, const int8_t *weight, int step, int32_t *acc) {
    int32_t a0 = acc[0], a1 = acc[1], a2 = acc[2], a3 = acc[3];
    for (; count >= 2; count -= 2, in += 2, weight += 2 * step) {
        uint32_t v = two(in, is_signed), x = word(weight), y = word(weight + step);
        uint32_t xe = even(x), xo = odd(x), ye = even(y), yo = odd(y);
        a0 = smlad(v, lower(xe, ye), a0);
        a1 = smlad(v, lower(xo, yo), a1);
        a2 = smlad(v, upper(xe, ye), a2);
        a3 = smlad(v, upper(xo, yo), a3);
    }
    if (count > 0) {
        int32_t v = is_signed ? (int8_t)in[0] : in[0];
        a0 += v * weight[0];
        a1 += v * weight[1];
        a2 += v * weight[2];
        a3 += v * weight[3];
    }
    acc[0] = a0;
    acc[1] = a1;
    acc[2] = a2;
    acc[3] = a3;
}

void pn_add_rows(const uint8_t *in, bool is_signed, int count, const int8_t *weight, int step, int n, int32_t *acc) {
    for (; n >= 4; n -= 4, weight += 4, acc += 4) {
        four_rows(in, is_signed, count, weight, step, acc);
    }
    for (int c = 0; c < count && n > 0; c++, weight += step) {
        int32_t v = is_signed ? (int8_t)in[c] : in[c];
        for (int i = 0; i < n; i++) {
            acc[i] += v * weight[i];
        }
    }
}

int32_t pn_dot(const int8_t *a, const int8_t *b, int n, int32_t bias) {
    for (; n >= 4; n -= 4, a += 4, b += 4) {
        uint32_t x = word(a), y = word(b);
        bias = smlad(even(x), even(y), bias);
        bias = smlad(odd(x), odd(y), bias);
    }
    while (n-- > 0) {
        bias += *a++ * *b++;
    }
    return bias;
}

// void pn_dsp_dots(x, w, end, step, sums): four dot products at once, 2 * (end - x) values of 16 bits, a multiple of 8,
// and as many weights at w, w + step and so on, which are added to sums. 44 instructions for 32 MACs.
//   r1 -> first and second weights   r2 -> third and fourth   r4-r7 sums   r8, r9 values   lr end
void pn_dsp_dots(const uint32_t *x, const int8_t *w, const uint32_t *end, int step, int32_t *sums);
// clang-format off
__asm__(
    "    .syntax unified\n"
    "    .thumb\n"
    "    .text\n"
    "    .global pn_dsp_dots\n"
    "    .type pn_dsp_dots, %function\n"
    "    .balign 4\n"
    "    .thumb_func\n"
    "pn_dsp_dots:\n"
    "    push {r4-r11, lr}\n"
    "    mov lr, r2\n"
    "    add r2, r1, r3, lsl #1\n"
    "    ldr r12, [sp, #36]\n"
    "    ldm r12, {r4-r7}\n"
    "1:\n"
    "    ldr r10, [r1, r3]\n"
    "    ldrd r8, r9, [r0], #8\n"
    "    sxtb16 r11, r10\n"
    "    ldr r12, [r1], #4\n"
    "    sxtb16 r10, r10, ror #8\n"
    "    smlad r5, r8, r11, r5\n"
    "    sxtb16 r11, r12\n"
    "    smlad r5, r9, r10, r5\n"
    "    ldr r10, [r2, r3]\n"
    "    sxtb16 r12, r12, ror #8\n"
    "    smlad r4, r8, r11, r4\n"
    "    sxtb16 r11, r10\n"
    "    smlad r4, r9, r12, r4\n"
    "    smlad r7, r8, r11, r7\n"
    "    ldr r12, [r2], #4\n"
    "    sxtb16 r10, r10, ror #8\n"
    "    sxtb16 r11, r12\n"
    "    smlad r7, r9, r10, r7\n"
    "    sxtb16 r12, r12, ror #8\n"
    "    smlad r6, r8, r11, r6\n"
    "    ldr r10, [r1, r3]\n"
    "    smlad r6, r9, r12, r6\n"
    "    ldrd r8, r9, [r0], #8\n"
    "    sxtb16 r11, r10\n"
    "    ldr r12, [r1], #4\n"
    "    sxtb16 r10, r10, ror #8\n"
    "    smlad r5, r8, r11, r5\n"
    "    sxtb16 r11, r12\n"
    "    sxtb16 r12, r12, ror #8\n"
    "    smlad r4, r8, r11, r4\n"
    "    smlad r5, r9, r10, r5\n"
    "    ldr r10, [r2, r3]\n"
    "    smlad r4, r9, r12, r4\n"
    "    ldr r12, [r2], #4\n"
    "    sxtb16 r11, r10\n"
    "    sxtb16 r10, r10, ror #8\n"
    "    smlad r7, r8, r11, r7\n"
    "    sxtb16 r11, r12\n"
    "    smlad r7, r9, r10, r7\n"
    "    sxtb16 r12, r12, ror #8\n"
    "    smlad r6, r8, r11, r6\n"
    "    smlad r6, r9, r12, r6\n"
    "    cmp r0, lr\n"
    "    bne 1b\n"
    "    ldr r12, [sp, #36]\n"
    "    stm r12, {r4-r7}\n"
    "    pop {r4-r11, pc}\n"
);
// clang-format on

// Values that are widened at a time, for all outputs.
#define WIDENED 128

void pn_dots(const int8_t *x, const int8_t *w, int n, int step, int outputs, int32_t *sums) {
    uint32_t wide[WIDENED / 2];
    for (int at = 0, part; at < n; at += part) {
        part = n - at < 8 ? n - at : n - at < WIDENED ? (n - at) & ~7 : WIDENED;
        int i = 0;
        for (int j = 0; j < part / 4; j++) {
            wide[2 * j] = even(word(x + at + 4 * j));
            wide[2 * j + 1] = odd(word(x + at + 4 * j));
        }
        for (; i + 4 <= outputs && part >= 8; i += 4) {
            pn_dsp_dots(wide, w + i * step + at, wide + part / 2, step, sums + i);
        }
        for (; i < outputs; i++) {
            sums[i] = pn_dot(x + at, w + i * step + at, part, sums[i]);
        }
    }
}

#endif
