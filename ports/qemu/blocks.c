// A plugin of QEMU: how often each block of code runs, and what is read of flash behind a data cache, by what the
// program is at.
//
//     -plugin build/qemu/blocks.so,step=ADDRESS,stop=ADDRESS,steps=FILE,flash=ADDRESS,bytes=BYTES,out=FILE
//
// Each time the function at `step` is called, the program is at the next number of `steps`, 16 bits each, low byte
// first; when that at `stop` is called, it is at none, as it is before the first number and behind the last one. At the
// end `out` gets a line "address instructions number count" for each block and number that it ran under, and a line
// "read number count" for the lines of the cache that were read from the `bytes` at `flash`. The cache is that of an
// STM32H7: 16 KB, 4 ways, lines of 32 bytes; the least recently used one goes. Nothing else lies in it.
//
// What is used of QEMU's interface is declared here: Debian's packages have no header of it.
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef PLUGIN_VERSION
#define PLUGIN_VERSION 1
#endif

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id_t;
struct qemu_plugin_tb;
typedef void (*translated_t)(plugin_id_t, struct qemu_plugin_tb *);
typedef void (*executed_t)(unsigned int, void *);
typedef void (*accessed_t)(unsigned int, uint32_t, uint64_t, void *);
typedef void (*ended_t)(plugin_id_t, void *);
struct qemu_plugin_insn;

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id_t id, translated_t cb);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, executed_t cb, int flags, void *data);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, accessed_t cb, int flags, int rw, void *data);
bool qemu_plugin_mem_is_store(uint32_t info);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
void qemu_plugin_register_atexit_cb(plugin_id_t id, ended_t cb, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);

EXPORT int qemu_plugin_version = PLUGIN_VERSION;

enum { NOBODY = 0xFFFF, NUMBERS = 4096, BUCKETS = 1 << 16 };
enum { LINE = 32, WAYS = 4, SETS = 16384 / LINE / WAYS, BOTH = 3 };

typedef struct block {
    struct block *next;
    uint64_t address;
    uint32_t instructions;
    uint64_t counts[];
} block_t;

static block_t *blocks[BUCKETS];
static uint64_t step_address, stop_address, flash_address, flash_bytes;
static uint64_t cached[SETS][WAYS]; // lines of flash and 1, the most recently used one first
static uint64_t reads[NUMBERS];
static uint8_t *steps;
static size_t step_count, steps_done;
static uint32_t numbers, at = NOBODY;
static char out_path[4096];

static uint32_t number_of(size_t i) {
    return steps[2 * i] | steps[2 * i + 1] << 8;
}

static void executed(unsigned int cpu, void *data) {
    (void)cpu;
    block_t *b = data;
    if (b->address == step_address) {
        at = steps_done < step_count ? number_of(steps_done) : NOBODY;
        ++steps_done;
    } else if (b->address == stop_address) {
        at = NOBODY;
    }
    if (at != NOBODY) {
        ++b->counts[at];
    }
}

// Asked for loads alone, QEMU 7 tells of stores alone.
static void accessed(unsigned int cpu, uint32_t info, uint64_t address, void *data) {
    (void)cpu, (void)data;
    if (at == NOBODY || address - flash_address >= flash_bytes || qemu_plugin_mem_is_store(info)) {
        return;
    }
    uint64_t line = address / LINE + 1, *ways = cached[address / LINE % SETS];
    size_t way = 0;
    while (way < WAYS - 1 && ways[way] != line) {
        ++way;
    }
    reads[at] += ways[way] != line;
    memmove(ways + 1, ways, way * sizeof(*ways));
    ways[0] = line;
}

// The same code may be translated more than once.
static block_t *block_at(uint64_t address, uint32_t instructions) {
    block_t **place = &blocks[(address >> 1) % BUCKETS];
    while (*place && ((*place)->address != address || (*place)->instructions != instructions)) {
        place = &(*place)->next;
    }
    if (!*place) {
        *place = calloc(1, sizeof(block_t) + numbers * sizeof(uint64_t));
        if (!*place) {
            abort();
        }
        (*place)->address = address;
        (*place)->instructions = instructions;
    }
    return *place;
}

static void translated(plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    block_t *b = block_at(qemu_plugin_tb_vaddr(tb), (uint32_t)qemu_plugin_tb_n_insns(tb));
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0, b);
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); ++i) {
        qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(tb, i), accessed, 0, BOTH, NULL);
    }
}

static void ended(plugin_id_t id, void *data) {
    (void)id, (void)data;
    FILE *f = fopen(out_path, "w");
    if (!f) {
        perror(out_path);
        return;
    }
    fprintf(f, "steps %zu\n", steps_done);
    for (uint32_t n = 0; n < numbers; ++n) {
        fprintf(f, "read %u %llu\n", n, (unsigned long long)reads[n]);
    }
    for (size_t i = 0; i < BUCKETS; ++i) {
        for (const block_t *b = blocks[i]; b; b = b->next) {
            for (uint32_t n = 0; n < numbers; ++n) {
                if (b->counts[n]) {
                    fprintf(f, "%llx %u %u %llu\n", (unsigned long long)b->address, b->instructions, n,
                        (unsigned long long)b->counts[n]);
                }
            }
        }
    }
    fclose(f);
}

static bool read_steps(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END)) {
        return false;
    }
    long bytes = ftell(f);
    rewind(f);
    steps = malloc((size_t)bytes + 1);
    bool fine = steps && fread(steps, 1, (size_t)bytes, f) == (size_t)bytes;
    fclose(f);
    step_count = (size_t)bytes / 2;
    for (size_t i = 0; fine && i < step_count; ++i) {
        uint32_t n = number_of(i);
        numbers = n >= numbers ? n + 1 : numbers;
    }
    return fine && numbers <= NUMBERS;
}

EXPORT int qemu_plugin_install(plugin_id_t id, const void *info, int argc, char **argv) {
    (void)info;
    for (int i = 0; i < argc; ++i) {
        if (!strncmp(argv[i], "step=", 5)) {
            step_address = strtoull(argv[i] + 5, NULL, 0);
        } else if (!strncmp(argv[i], "stop=", 5)) {
            stop_address = strtoull(argv[i] + 5, NULL, 0);
        } else if (!strncmp(argv[i], "flash=", 6)) {
            flash_address = strtoull(argv[i] + 6, NULL, 0);
        } else if (!strncmp(argv[i], "bytes=", 6)) {
            flash_bytes = strtoull(argv[i] + 6, NULL, 0);
        } else if (!strncmp(argv[i], "steps=", 6)) {
            if (!read_steps(argv[i] + 6)) {
                fprintf(stderr, "%s: cannot be read, or has numbers over %d\n", argv[i] + 6, NUMBERS);
                return 1;
            }
        } else if (!strncmp(argv[i], "out=", 4)) {
            snprintf(out_path, sizeof(out_path), "%s", argv[i] + 4);
        }
    }
    if (!step_address || !stop_address || !steps || !flash_bytes || !*out_path) {
        fprintf(stderr, "blocks: wanted step=ADDRESS,stop=ADDRESS,steps=FILE,flash=ADDRESS,bytes=BYTES,out=FILE\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
