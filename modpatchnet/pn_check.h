// Checking a plan before anything runs by it.
#ifndef PN_CHECK_H
#define PN_CHECK_H

#include "patchnet.h"

// Goes through all segments of a blob whose header, tables and layer shapes are already found good. PN_OK or PN_ERR_PLAN,
// m->fault_layer naming the layer.
int pn_check_plan(pn_model_t *m);

// Checks the arrays of layers first..first+n-1 of a chain (n = 0: those of the fully connected layer) as far as they are in memory, and
// finds the part of the blob in which they lie. PN_OK, PN_ERR_WEIGHTS or PN_ERR_OVERFLOW.
int pn_check_arrays(pn_model_t *m, uint32_t tunnel, uint32_t first, uint32_t n, uint32_t *from, uint32_t *end);

#endif
