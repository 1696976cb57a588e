// From samples to a spectrogram (FORMAT.md, From samples to input): one frame in, one row of int8 values out.
#ifndef PN_SPECTRUM_H
#define PN_SPECTRUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A frame's spectrum: complex values, and of the first half of them what becomes of each, its power.
typedef union {
    int32_t z[2];
    uint64_t power;
} pn_bin_t;

// The front-end of a blob; tables are borrowed from it.
typedef struct {
    const int16_t *window; // [frame]
    const int16_t *twiddle; // [fft / 2][2]: cos, -sin of 2 pi k / fft, 15 fraction bits
    const uint8_t *bands; // records of first bin and bins, u16 each
    const uint8_t *weights; // of all bands, one after the other
    uint32_t rate, weight_bytes;
    uint16_t width, frame, hop, fft;
    int32_t log_mult, log_offset;
} pn_spectrum_t;

// Fills *a from the task record at `record` of the blob whose first byte is `base`. Checks nothing. The second one
// leaves out where the tables are, which must be in range before there are pointers to them.
void pn_spectrum_read(pn_spectrum_t *a, const uint8_t *base, const uint8_t *record, uint32_t width);
void pn_spectrum_numbers(pn_spectrum_t *a, const uint8_t *record, uint32_t width);

// The row of the frame whose samples lie in the ring `pcm` of a->frame samples, the oldest at `first`.
// bins: a->fft / 2 of them, contents of no matter. out: a->width values.
void pn_spectrum_row(const pn_spectrum_t *a, const int16_t *pcm, uint32_t first, pn_bin_t *bins, int8_t *out);

#endif
