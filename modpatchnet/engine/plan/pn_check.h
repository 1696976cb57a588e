// Checking a plan before anything runs by it.
#ifndef PN_CHECK_H
#define PN_CHECK_H

#include "patchnet.h"
#include "engine/kernels/pn_fast.h"

// Goes through all segments of a blob whose header, tables and layer shapes are already found good. PN_OK or PN_ERR_PLAN,
// m->fault_layer naming the layer.
int pn_check_plan(pn_model_t *m);

// Checks the arrays of layers first..first+n-1 of a chain (n = 0: those of the fully connected layer) as far as they are in memory, and
// finds the part of the blob in which they lie. PN_OK, PN_ERR_WEIGHTS or PN_ERR_OVERFLOW.
int pn_check_arrays(pn_model_t *m, uint32_t tunnel, uint32_t first, uint32_t n, uint32_t *from, uint32_t *end);

// Whether arrays in memory are good: biases and multipliers of `n` outputs at `p`, of sums of `products` products, each at most 2^bits, that must fit int32
// when shifted left by `shift`; of a bottleneck for modes 5 and 6, those of the projection's scales and of channels from..from+n-1, whole groups.
// PN_OK, PN_ERR_WEIGHTS or PN_ERR_OVERFLOW.
int pn_check_scaled(const uint8_t *p, uint32_t n, uint32_t products, int bits, int shift);
int pn_check_fast(const pn_fast_t *f, uint32_t from, uint32_t n);

// The shape of such a layer, as far as its arrays depend on it.
pn_fast_t pn_fast_layer(const pn_layer_t *l);

#endif
