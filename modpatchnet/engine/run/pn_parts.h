// The weights of a streamed blob, brought into its buffer in parts (FORMAT.md, Streaming).
#ifndef PN_PARTS_H
#define PN_PARTS_H

#include "patchnet.h"

// Before the first step of a segment's layers, or (0 layers) of the fully connected one.
void pn_parts_begin(pn_model_t *m, uint32_t first, uint32_t layers);

// Whether the next step's weights are there, as pn_step returns it: PN_OK, PN_WANT or an error. `fc`: it is one of the
// fully connected layer.
int pn_parts_ready(pn_model_t *m, bool fc);

// Sets weights.least and weights.most of a blob that is found good.
void pn_parts_sizes(pn_model_t *m);

#endif
