// What the portable kernels share of SSE2, where the processor has it.
#ifndef PN_SSE2_H
#define PN_SSE2_H

#if defined(__SSE2__)
#include <emmintrin.h>
#include <stdint.h>
#include <string.h>

static inline __m128i pn_load(const void *p) {
    return _mm_loadu_si128((const __m128i *)p);
}

static inline __m128i pn_load8(const void *p) {
    return _mm_loadl_epi64((const __m128i *)p);
}

static inline __m128i pn_load4(const void *p) {
    int32_t v;
    memcpy(&v, p, 4);
    return _mm_cvtsi32_si128(v);
}

static inline void pn_store(void *p, __m128i v) {
    _mm_storeu_si128((__m128i *)p, v);
}

static inline void pn_store8(void *p, __m128i v) {
    _mm_storel_epi64((__m128i *)p, v);
}

// int8 as 16-bit numbers, of the lower eight bytes.
static inline __m128i pn_signed(__m128i bytes) {
    return _mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8);
}

static inline __m128i pn_madd(__m128i sums, __m128i values, __m128i weights) {
    return _mm_add_epi32(sums, _mm_madd_epi16(values, weights));
}

// Of pairs of weights 256 b + a (FORMAT.md, Fast schedules): a, and b.
static inline __m128i pn_first_of(__m128i pairs) {
    return _mm_srai_epi16(_mm_slli_epi16(pairs, 8), 8);
}

static inline __m128i pn_second_of(__m128i pairs) {
    return _mm_add_epi16(_mm_srai_epi16(pairs, 8), _mm_srli_epi16(_mm_slli_epi16(pairs, 8), 15));
}

static inline __m128i pn_halves(__m128i a, __m128i b) {
    return _mm_add_epi32(_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b));
}

// The sums of four vectors' lanes, added to sums[0..3].
static inline void pn_add_lanes(__m128i a, __m128i b, __m128i c, __m128i d, int32_t *sums) {
    __m128i low = pn_halves(a, b), high = pn_halves(c, d);
    low = _mm_add_epi32(_mm_unpacklo_epi64(low, high), _mm_unpackhi_epi64(low, high));
    pn_store(sums, _mm_add_epi32(pn_load(sums), low));
}
#endif

#endif
