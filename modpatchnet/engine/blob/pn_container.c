#include "engine/blob/pn_container.h"

#include "engine/blob/pn_blob.h"

// A nibble at a time: a table of 64 bytes, and twice the speed of single bits.
uint32_t pn_crc32(uint32_t crc, const uint8_t *p, size_t n) {
    // clang-format off
    static const uint32_t nibble[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    // clang-format on
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ nibble[crc & 15];
        crc = crc >> 4 ^ nibble[crc & 15];
    }
    return ~crc;
}

int pn_container_check(const uint8_t *b, size_t len) {
    if ((uintptr_t)b % PN_ALIGN != 0) {
        return PN_ERR_ALIGN;
    }
    if (len < PN_HEADER_BYTES) {
        return PN_ERR_LENGTH;
    }
    if (pn_u32(b) != PN_MAGIC) {
        return PN_ERR_MAGIC;
    }
    if (pn_u16(b + PN_HEADER_VERSION) != PN_VERSION || pn_u16(b + PN_HEADER_HEADER_BYTES) != PN_HEADER_BYTES) {
        return PN_ERR_VERSION;
    }
    uint32_t prefix = pn_u32(b + PN_HEADER_WEIGHT_OFF);
    bool ok = prefix >= PN_HEADER_BYTES && prefix <= len && prefix <= pn_u32(b + PN_HEADER_SIZE);
    return ok ? PN_OK : PN_ERR_LENGTH;
}

uint32_t pn_prefix_bytes(const void *header) {
    return pn_u32(header) == PN_MAGIC ? pn_u32((const uint8_t *)header + PN_HEADER_WEIGHT_OFF) : 0;
}

int pn_verify(pn_model_t *m, const void *data, size_t n) {
    pn_weights_t *w = &m->weights;
    n = n < w->unverified ? n : w->unverified; // what lies behind the blob is no matter
    w->crc = pn_crc32(w->crc, data, n);
    w->unverified -= (uint32_t)n;
    return w->unverified ? PN_MORE : w->crc == pn_u32(m->blob + PN_HEADER_CRC) ? PN_OK : PN_ERR_CRC;
}

int pn_verify_begin(pn_model_t *m, size_t n) {
    uint32_t after = PN_HEADER_CRC + 4, size = pn_u32(m->blob + PN_HEADER_SIZE);
    m->weights.crc = pn_crc32(0, m->blob, PN_HEADER_CRC);
    m->weights.unverified = size - after;
    return pn_verify(m, m->blob + after, n - after);
}

static bool inside(uint32_t from, uint32_t to, uint32_t off, uint64_t bytes) {
    return off % PN_ALIGN == 0 && off >= from && off <= to && bytes <= to - off;
}

bool pn_in_prefix(const pn_model_t *m, uint32_t off, uint32_t bytes) {
    return inside(PN_HEADER_BYTES, pn_u32(m->blob + PN_HEADER_WEIGHT_OFF), off, bytes);
}

bool pn_in_weights(const pn_model_t *m, uint32_t off, uint64_t bytes) {
    return inside(pn_u32(m->blob + PN_HEADER_WEIGHT_OFF), pn_u32(m->blob + PN_HEADER_SIZE), off, bytes);
}
