// Checking a plan before anything runs by it.
#ifndef PN_CHECK_H
#define PN_CHECK_H

#include "patchnet.h"

// A stretch of the arena that is the task's and outlives segments: alive from segment `from` until segment `end`
// begins, where the end of the run counts as segment all_segments.
typedef struct {
    uint32_t at, align;
    uint64_t bytes;
    uint16_t from, end;
} pn_lasting_t;

#define PN_MOST_LASTING 4

// What of the arena a plan may use: its first `bytes`, but for what lasts while that is alive.
typedef struct {
    uint32_t bytes, n;
    pn_lasting_t lasting[PN_MOST_LASTING];
} pn_room_t;

// Goes through all segments of a blob whose header, tables and layer shapes are already found good, one strip with each
// step; m->run.arena is room for the stages of a segment. PN_MORE, PN_OK or PN_ERR_PLAN, m->fault_layer naming the
// layer.
void pn_check_begin(pn_model_t *m);
int pn_check_step(pn_model_t *m, const pn_room_t *room);

#endif
