// Damages a blob in every way that this file knows and lets the engine at it, under sanitizers: whatever the bytes say,
// pn_open refuses by name or a whole run stays inside blob, arena and picture, each of which is malloc'ed to the byte.
// The same for the blob streamed, whose head and buffer are malloc'ed as well, with the same outcome and the same
// scores.
//
//     corrupt BLOB                         every truncation, several flips of every byte, CRC left and CRC repaired
//     corrupt BLOB random SEED TIMES       several bytes at once, CRC repaired
//
// Prints how often each outcome occurred.
#define ARENA_MOST (1u << 26)
#define OUTPUTS_MOST (1u << 22)
#define WORK_MOST UINT64_MAX
#include "attempt.h"

static void truncations(uint8_t *blob, size_t n) {
    for (size_t len = 0; len < n; len++) {
        if (try(blob, len) != PN_ERR_LENGTH) {
            die("a truncated blob was not refused for its length");
        }
        if (len >= PN_HEADER_BYTES) {
            uint8_t *shorter = exactly(len);
            memcpy(shorter, blob, len);
            put32(shorter + PN_HEADER_SIZE, (uint32_t)len);
            repair_crc(shorter, len);
            try(shorter, len);
            free(shorter);
        }
    }
}

static void every_byte(uint8_t *blob, size_t n) {
    static const uint8_t flips[] = { 0x01, 0x02, 0x04, 0x10, 0x40, 0x80, 0xff };
    for (size_t at = 0; at < n; at++) {
        uint8_t was = blob[at];
        for (size_t i = 0; i < sizeof(flips); i++) {
            blob[at] = was ^ flips[i];
            if (try(blob, n) == PN_OK) {
                die("damage was not noticed");
            }
            repair_crc(blob, n);
            try(blob, n);
            blob[at] = was;
            repair_crc(blob, n);
        }
    }
}

static uint32_t chance(uint64_t *state, uint32_t below) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33) % below;
}

// 1 to 4 places, half of them in the tables, which end where the labels begin: a random byte, or a small or extreme
// number.
static void random_damage(const uint8_t *good, size_t n, uint64_t seed, unsigned long times) {
    static const uint8_t likely[] = { 0, 1, 2, 3, 4, 7, 8, 16, 0x7f, 0x80, 0xff };
    uint8_t *blob = exactly(n);
    uint32_t tables = pn_u32(good + PN_HEADER_LABEL_OFF);
    while (times-- > 0) {
        memcpy(blob, good, n);
        for (uint32_t k = chance(&seed, 4) + 1; k > 0; k--) {
            uint32_t at = chance(&seed, chance(&seed, 2) ? tables : (uint32_t)n);
            blob[at] = chance(&seed, 2) ? likely[chance(&seed, sizeof(likely))] : (uint8_t)chance(&seed, 256);
        }
        repair_crc(blob, n);
        try(blob, n);
    }
    free(blob);
}

static uint8_t *read_file(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    if (f == NULL || fseek(f, 0, SEEK_END) != 0) {
        die("cannot read the blob");
    }
    *n = (size_t)ftell(f);
    rewind(f);
    uint8_t *blob = exactly(*n);
    if (fread(blob, 1, *n, f) != *n) {
        die("cannot read the blob");
    }
    fclose(f);
    return blob;
}

int main(int argc, char **argv) {
    if (argc != 2 && argc != 5) {
        die("usage: corrupt BLOB [random SEED TIMES]");
    }
    size_t n;
    uint8_t *blob = read_file(argv[1], &n);
    if (try(blob, n) != PN_OK) {
        die("the blob is bad before any damage");
    }
    if (argc == 2) {
        truncations(blob, n);
        every_byte(blob, n);
    } else {
        random_damage(blob, n, strtoull(argv[3], NULL, 10), strtoul(argv[4], NULL, 10));
    }
    printf("ran %lu\ntoo large %lu\n", opened, too_large);
    for (int err = 1; err <= -PN_ERR_ROI; err++) {
        printf("%s %lu\n", pn_error(-err), refused[err]);
    }
    free(blob);
    return 0;
}
