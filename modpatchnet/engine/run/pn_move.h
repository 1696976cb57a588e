// memmove, which the engine does without.
#ifndef PN_MOVE_H
#define PN_MOVE_H

#include <stdint.h>

// Moves `n` bytes, the two places being apart but perhaps overlapping.
void pn_move(uint8_t *to, const uint8_t *from, uint32_t n);

#endif
