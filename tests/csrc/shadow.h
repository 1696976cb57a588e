// The checking build (-DPN_SHADOW): the engine names each stretch of the arena that it writes, and each that it reads.
// A byte that is read must carry the name that the reader expects: what was never written, or written over since, is
// found.
#ifndef SHADOW_H
#define SHADOW_H

#include <stddef.h>
#include <stdint.h>

// `n` bytes at `p` now belong to `tag`.
void shadow_write(const void *p, size_t n, uint32_t tag);
// `n` bytes at `p` are about to be read as `tag`. The first fault is kept.
void shadow_read(const void *p, size_t n, uint32_t tag);

#define PN_WRITE(p, n, tag) shadow_write((p), (n), (tag))
#define PN_READ(p, n, tag) shadow_read((p), (n), (tag))

#endif
