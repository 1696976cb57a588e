// The container: size, version and CRC of a blob, and which part of it belongs to what.
#ifndef PN_CONTAINER_H
#define PN_CONTAINER_H

#include "patchnet.h"

// CRC-32 as in zlib, continued from `crc`; 0 to begin with.
uint32_t pn_crc32(uint32_t crc, const uint8_t *p, size_t n);

// Whether `len` bytes at `blob` may be a blob or its prefix. PN_OK, PN_ERR_ALIGN, PN_ERR_LENGTH, PN_ERR_MAGIC,
// PN_ERR_VERSION.
int pn_container_check(const uint8_t *blob, size_t len);

// The CRC of the first `n` bytes; what is missing is for pn_verify. PN_OK, PN_MORE, PN_ERR_CRC.
int pn_verify_begin(pn_model_t *m, size_t n);

// Whether `bytes` at `off` of the blob lie, aligned, behind the header and before the arrays of weights, where records,
// tables and labels are; or among those arrays.
bool pn_in_prefix(const pn_model_t *m, uint32_t off, uint32_t bytes);
bool pn_in_weights(const pn_model_t *m, uint32_t off, uint64_t bytes);

#endif
