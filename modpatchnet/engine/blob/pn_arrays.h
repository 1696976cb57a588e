// Checking the arrays of weights: where they lie, and that no sum made of them can overflow. What is not in memory is
// left out; of a streamed blob it is looked at when it comes.
#ifndef PN_ARRAYS_H
#define PN_ARRAYS_H

#include "engine/kernels/pn_fast.h"
#include "patchnet.h"

// All of these: PN_OK, PN_ERR_WEIGHTS or PN_ERR_OVERFLOW.

// A layer's arrays, and those of the fully connected layer; *end becomes the first byte behind them.
int pn_check_layer_arrays(const pn_model_t *m, const pn_layer_t *l, uint32_t *end);
int pn_check_dense(const pn_model_t *m, uint32_t *end);

// Those of layers first..first+n-1 of a chain (n = 0: of the fully connected layer), and the part of the blob in which
// they lie. Sets m->fault_layer.
int pn_check_arrays(pn_model_t *m, uint32_t tunnel, uint32_t first, uint32_t n, uint32_t *from, uint32_t *end);

// Biases and multipliers in memory at `p`, of `n` outputs: of sums of `products` products, each at most 2^bits, that
// must fit int32 when shifted left by `shift`.
int pn_check_scaled(const uint8_t *p, uint32_t n, uint32_t products, int bits, int shift);

// Pairs of outputs in memory at `p`, the last one of which may be there twice: sums of `products` products, and what
// makes them fours is zero.
int pn_check_pairs(const uint8_t *p, uint32_t n, uint32_t products, int shift);

// Of a bottleneck in the fast layout, those of the projection and of channels from..from+n-1, whole groups.
int pn_check_fast(const pn_fast_t *f, uint32_t from, uint32_t n);

// The shape of such a layer, as far as its arrays depend on it.
pn_fast_t pn_fast_layer(const pn_layer_t *l);

#endif
