// Checking a plan before anything runs by it.
#ifndef PN_CHECK_H
#define PN_CHECK_H

#include "patchnet.h"

// Goes through all segments of a blob whose header, tables and layer shapes are already found good. PN_OK or PN_ERR_PLAN,
// m->fault_layer naming the layer.
int pn_check_plan(pn_model_t *m);

#endif
