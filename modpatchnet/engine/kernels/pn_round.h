// The project's one rounding rule (FORMAT.md, The arithmetic). Everything that turns a sum into a value goes through
// here.
#ifndef PN_ROUND_H
#define PN_ROUND_H

#include <stdint.h>

static inline int32_t pn_clamp(int32_t v, int32_t lo, int32_t hi) {
    return v < lo ? lo : v > hi ? hi : v;
}

// `acc << shift` fits int32 (checked at load). Multiplying instead of shifting keeps a negative acc defined in C99.
static inline int64_t pn_scaled_sum(int32_t acc, int shift, int32_t mult) {
    return (int64_t)(acc * (1 << shift)) * mult;
}

// Expanded and depthwise values: single rounding, half up; the caller clamps to 0..255 or -128..127.
static inline int32_t pn_wide(int32_t acc, int shift, int32_t mult) {
    return (int32_t)((pn_scaled_sum(acc, shift, mult) + 0x80000000LL) >> 32);
}

// Everything else, with 8 fraction bits kept and not yet rounded.
static inline int32_t pn_narrow_q8(int32_t acc, int shift, int32_t mult) {
    return (int32_t)(pn_scaled_sum(acc, shift, mult) >> 32);
}

// The int8 value for q8 = pn_narrow_q8(...) + 256 * zero + 128 + residual.
static inline int8_t pn_narrow_end(int32_t q8) {
    return (int8_t)pn_clamp(q8 >> 8, -128, 127);
}

// 2^30 * 2^(-t / 65536), by the table of FORMAT.md's Scores.
uint64_t pn_exp2_neg(uint64_t t);

// The sigmoid of d * mult / 2^24 in powers of two, of 65536.
uint32_t pn_sigmoid(int32_t d, uint32_t mult);

#endif
