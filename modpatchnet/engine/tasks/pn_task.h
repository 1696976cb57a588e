// What ends a network, one question at a time; pn_task.c asks the task that the blob names. Tasks are called from
// pn_open.c and pn_run.c and may use all of run, plan, blob and kernels, which know nothing of them.
#ifndef PN_TASK_H
#define PN_TASK_H

#include "engine/plan/pn_check.h"
#include "engine/run/pn_stage.h"

// ---- opening: PN_OK or an error ----

// What the description needs of the task and its record, the header's other fields being read: m->pools, m->dense, map
// and layers behind the chains.
int pn_task_read(pn_model_t *m);

// The rest of its record, tables and labels being found good.
int pn_task_check(pn_model_t *m);

// A layer that is good by itself, *l: the last of the chains, then each one behind them. Sets m->outputs if that is not
// the number of classes.
int pn_task_layer(pn_model_t *m, const pn_layer_t *l);

// What the plan may use of the arena, and what in it is the task's.
void pn_task_room(const pn_model_t *m, pn_room_t *room);

// Where 0 lies among the outputs' values.
int16_t pn_task_zero(const pn_model_t *m);

// ---- running ----

// Before the first chain; before the first line of a segment that ends in sums.
void pn_task_begin(pn_model_t *m);
void pn_task_segment(pn_model_t *m);

// Output line `o` of the segment's last layer, where they do not go into a map.
void pn_task_line(pn_model_t *m, const pn_stage_t *s, uint32_t o, const int8_t *line);

// `n` channels from s->channel on are done, of a last convolution that makes a group of them at a time.
void pn_task_channels(pn_model_t *m, const pn_stage_t *s, uint32_t n);

// A chain is done. Where layers follow the last one, run.map_at and run.map_layer tell the map that they read.
void pn_task_chain(pn_model_t *m);

// A step of what follows the layers. Whether it was the last.
bool pn_task_step(pn_model_t *m);

// What the task has borrowed for a run is the caller's again.
void pn_task_release(pn_model_t *m);

#endif
