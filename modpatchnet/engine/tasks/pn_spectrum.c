// Window, real FFT, bands, logarithm: all in integers, no value of which can leave its type whatever the samples
// (FORMAT.md).
#include "engine/tasks/pn_spectrum.h"

#ifndef PN_NO_SOUND

#include "engine/blob/pn_blob.h"
#include "engine/kernels/pn_round.h"

void pn_spectrum_numbers(pn_spectrum_t *a, const uint8_t *record, uint32_t width) {
    a->weight_bytes = pn_u32(record + PN_AUDIO_WEIGHT_BYTES);
    a->rate = pn_u32(record + PN_AUDIO_RATE);
    a->width = (uint16_t)width;
    a->frame = (uint16_t)pn_u16(record + PN_AUDIO_FRAME);
    a->hop = (uint16_t)pn_u16(record + PN_AUDIO_HOP);
    a->fft = (uint16_t)pn_u16(record + PN_AUDIO_FFT);
    a->log_mult = (int32_t)pn_u32(record + PN_AUDIO_LOG_MULT);
    a->log_offset = (int32_t)pn_u32(record + PN_AUDIO_LOG_OFFSET);
}

void pn_spectrum_read(pn_spectrum_t *a, const uint8_t *base, const uint8_t *record, uint32_t width) {
    pn_spectrum_numbers(a, record, width);
    a->window = (const int16_t *)(const void *)(base + pn_u32(record + PN_AUDIO_WINDOW_OFF));
    a->twiddle = (const int16_t *)(const void *)(base + pn_u32(record + PN_AUDIO_TWIDDLE_OFF));
    a->bands = base + pn_u32(record + PN_AUDIO_BAND_OFF);
    a->weights = base + pn_u32(record + PN_AUDIO_WEIGHT_OFF);
}

// Windowed samples, two to a bin, in the order of reversed bits; zeros behind the frame.
static void load(const pn_spectrum_t *a, const int16_t *pcm, uint32_t first, pn_bin_t *bins) {
    uint32_t half = a->fft / 2u, at = 0;
    int shift = 0;
    while (a->fft >> shift > 1) {
        shift++;
    }
    for (uint32_t i = 0; i < a->fft; i++) {
        int32_t v = 0;
        if (i < a->frame) {
            uint32_t from = first + i;
            v = pcm[from < a->frame ? from : from - a->frame] * a->window[i] >> shift;
        }
        bins[at].z[i & 1] = v;
        if (i & 1) { // at: i / 2 with its bits reversed, counted up from the top bit
            uint32_t bit = half;
            do {
                bit >>= 1;
                at ^= bit;
            } while (bit && !(at & bit));
        }
    }
}

// *re + i * *im times the twiddle at `w`.
static void turn(const int16_t *w, int32_t *re, int32_t *im) {
    int64_t x = *re, y = *im;
    *re = (int32_t)((x * w[0] - y * w[1] + (1 << 14)) >> 15);
    *im = (int32_t)((x * w[1] + y * w[0] + (1 << 14)) >> 15);
}

// Complex FFT of fft / 2 values, decimation in time, radix 2.
static void transform(const pn_spectrum_t *a, pn_bin_t *bins) {
    uint32_t n = a->fft / 2u;
    for (uint32_t len = 1, step = n; len < n; len *= 2, step /= 2) {
        const int16_t *w = a->twiddle;
        for (uint32_t j = 0; j < len; j++, w += 2 * step) {
            for (pn_bin_t *p = bins + j; p < bins + n; p += 2 * len) {
                int32_t re = p[len].z[0], im = p[len].z[1];
                turn(w, &re, &im);
                p[len].z[0] = p->z[0] - re;
                p[len].z[1] = p->z[1] - im;
                p->z[0] += re;
                p->z[1] += im;
            }
        }
    }
}

static PN_APART uint64_t power(int32_t re, int32_t im) {
    return ((uint64_t)((int64_t)re * re) + (uint64_t)((int64_t)im * im)) >> 16;
}

// The spectrum of the real samples from that of their pairs, in place, as powers of bins 0..fft / 2 - 1.
static void split(const pn_spectrum_t *a, pn_bin_t *bins) {
    uint32_t n = a->fft / 2u;
    bins->power = power(bins->z[0] + bins->z[1], 0);
    for (uint32_t k = 1; k <= n / 2; k++) {
        pn_bin_t *p = &bins[k], *q = &bins[n - k];
        int32_t even_re = (p->z[0] + q->z[0]) >> 1, even_im = (p->z[1] - q->z[1]) >> 1;
        int32_t re = (p->z[1] + q->z[1]) >> 1, im = (q->z[0] - p->z[0]) >> 1;
        turn(a->twiddle + 2 * k, &re, &im);
        q->power = power(even_re - re, even_im - im);
        p->power = power(even_re + re, even_im + im);
    }
}

// 2^PN_LOG_BITS times the logarithm to base 2, rounded down; 0 of 0. A digit at a time: squaring doubles the logarithm.
static int32_t log2_of(uint64_t v) {
    if (v == 0) {
        return 0;
    }
    int32_t out = 63;
    for (; !(v >> 63); v <<= 1) {
        out--;
    }
    uint32_t x = (uint32_t)(v >> 32);
    for (int i = 0; i < PN_LOG_BITS; i++) {
        uint64_t y = (uint64_t)x * x;
        bool two = y >> 63;
        x = (uint32_t)(y >> (two ? 32 : 31));
        out = 2 * out + two;
    }
    return out;
}

void pn_spectrum_row(const pn_spectrum_t *a, const int16_t *pcm, uint32_t first, pn_bin_t *bins, int8_t *out) {
    load(a, pcm, first, bins);
    transform(a, bins);
    split(a, bins);
    const uint8_t *w = a->weights;
    for (uint32_t b = 0; b < a->width; b++) {
        const pn_bin_t *p = bins + pn_u16(a->bands + 4 * b);
        uint64_t sum = 0;
        for (uint32_t n = pn_u16(a->bands + 4 * b + 2); n > 0; n--) {
            sum += p++->power * *w++;
        }
        out[b] = (int8_t)pn_clamp((log2_of(sum) * a->log_mult + a->log_offset) >> 16, INT8_MIN, INT8_MAX);
    }
}

#endif
