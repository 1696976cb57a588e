// Which layer of a segment works next, on which lines, and how much memory it takes (FORMAT.md, The plan). Nothing here
// touches maps or weights: pn_open goes through every segment with these functions to check a plan, pn_run to carry it
// out.
#ifndef PN_PLAN_H
#define PN_PLAN_H

#include "engine/blob/pn_blob.h"
#include "engine/kernels/pn_conv.h"
#include "engine/kernels/pn_fast.h"
#include "patchnet.h"

// One layer of a segment: shape, schedule, the integers of the current chain, and how far it is in the current strip. A
// run keeps it in the arena: PN_STATE_BYTES, no pointers.
typedef struct {
    uint32_t ring_at, wide_at;
    uint16_t cin, cexp, cout;
    uint16_t rows, group, ring_lines;
    uint16_t lines_in, lines_out; // of the whole input and output map
    uint16_t cross_in, cross_out; // pixels of such a line
    uint16_t from, to, out_from, out_to; // pixels of a line that the strip needs
    uint16_t done; // output lines made
    uint16_t fresh; // the next input line to sample or to take in, of a block the next line between its convolutions
    uint16_t line, channel; // in a chunk of groups: the next output line, the group's first channel
    pn_axis_t along, across; // lines, and the pixels of a line
    uint8_t index, kind, mode, flags, shift;
    int8_t zero_in, zero_out;
    bool floats;
} pn_stage_t;

// Where the lines of a segment's last layer go: into a map; or, by way of the work area, to the task: those of a
// chain's last layer into sums of features, or what else the task makes of them and of heads' lines.
enum { PN_TO_MAP, PN_TO_SUMS, PN_TO_TASK };

enum {
    PN_SAMPLE, // input line `fresh` from the picture into the ring
    PN_EXPAND, // input line `fresh` into the wide ring
    PN_CHUNK, // output lines from `done` to the job's `end`
    PN_STRIP_DONE,
};

// Reads the layers of a segment of chain `tunnel` as stages and sets seg->columns and seg->sink. *l holds the layer
// before the segment, and after the call the segment's last.
void pn_segment_stages(const pn_model_t *m, uint32_t tunnel, pn_segment_t *seg, pn_layer_t *l, pn_stage_t *stages);

// Begins the strip whose first output row is `top` (0 where lines are rows).
void pn_strip_begin(pn_stage_t *stages, const pn_segment_t *seg, uint32_t top);

// What comes next. `picture`: the first stage reads the picture.
pn_job_t pn_next(const pn_stage_t *stages, int n, bool picture);

// The input lines that output lines from..end-1 need: first, and one past last. Of a block, those that the first
// convolution needs for its lines from..end-1.
void pn_needs(const pn_stage_t *s, uint32_t from, uint32_t end, uint32_t *lo, uint32_t *hi);
void pn_block_needs(const pn_stage_t *s, uint32_t from, uint32_t end, uint32_t *lo, uint32_t *hi);

// The lines (or, `across`, the pixels of a line) between a block's convolutions that outputs from..end-1 need.
void pn_middle(const pn_stage_t *s, bool across, uint32_t from, uint32_t end, uint32_t *lo, uint32_t *hi);

// Input lines that a stage takes in before its first output line.
uint32_t pn_ahead(const pn_stage_t *s);

// The input line that is next sampled, taken in or, by a fast stage, read anew, when the chunk up to `end` is wanted; a
// kernel smaller than the stride skips lines. Of a block, the line between its convolutions.
uint32_t pn_fresh_line(const pn_stage_t *s, uint32_t end);

// The input line that is added to output line `o` of a residual.
static inline uint32_t pn_added_line(const pn_stage_t *s, uint32_t o) {
    return o * s->along.stride;
}

// Whether a stage has expanded rows of its own (a bottleneck with an expansion).
static inline bool pn_expands(const pn_stage_t *s) {
    return s->kind == PN_KIND_BOTTLENECK && s->flags & PN_FLAG_EXPAND;
}

// Bytes of a value that a stage makes, and of one that it reads; the input of the network is int8 in any case.
#ifdef PN_NO_FLOAT32
#define pn_size(s) ((void)(s), 1u)
#define pn_size_in(s) ((void)(s), 1u)
#else
static inline uint32_t pn_size(const pn_stage_t *s) {
    return s->floats ? 4 : 1;
}

static inline uint32_t pn_size_in(const pn_stage_t *s) {
    return s->floats && s->index > 0 ? 4 : 1;
}
#endif

// Whether its input is added to what it makes.
static inline bool pn_adds(const pn_stage_t *s) {
    return s->kind == PN_KIND_BLOCK || s->flags & PN_FLAG_RESIDUAL;
}

// Lines of its own that a stage keeps: expanded ones, of a block those between its convolutions.
static inline uint32_t pn_kernel_lines(const pn_stage_t *s) {
    uint32_t kernel = s->kind == PN_KIND_BLOCK ? s->along.second : s->along.kernel;
    uint32_t lines = s->kind == PN_KIND_BLOCK ? s->lines_out : s->lines_in;
    return kernel < lines ? kernel : lines;
}

// Whether a stage is a convolution that makes a group of its output channels at a time.
static inline bool pn_grouped_conv(const pn_stage_t *s) {
    return s->kind == PN_KIND_CONV && s->mode == PN_MODE_GROUPS;
}

// Whether a stage runs in the layout of the fast kernels (modes 5 and 6), and whether it then brings each input line
// into its own memory once.
static inline bool pn_is_fast(const pn_stage_t *s) {
    return pn_fast_mode(s->mode);
}

static inline bool pn_takes_lines(const pn_stage_t *s) {
    return s->mode == PN_MODE_FAST && pn_expands(s);
}

// Whether a stage takes in input lines as soon as they are there, one by one, into memory of its own.
static inline bool pn_rolls(const pn_stage_t *s) {
    return s->mode == PN_MODE_ROLLING || s->mode == PN_MODE_COVER;
}

// Whether a group of expanded channels goes through all lines of a chunk before the next one begins.
static inline bool pn_in_groups(const pn_stage_t *s) {
    return s->mode == PN_MODE_GROUPS || s->mode == PN_MODE_STORED || s->mode == PN_MODE_SWEEP;
}

static inline uint32_t pn_pixels_in(const pn_stage_t *s) {
    return (uint32_t)(s->to - s->from);
}

static inline uint32_t pn_pixels_out(const pn_stage_t *s) {
    return (uint32_t)(s->out_to - s->out_from);
}

// A fast stage's shape in the current strip; arrays and places are left empty.
pn_fast_t pn_fast_shape(const pn_stage_t *s);

// Pixels of a line between a block's convolutions.
uint32_t pn_middle_pixels(const pn_stage_t *s);

// Pixels that a convolution makes at a time of an output line of `pixels`: `most`, or 0 for as many as are worth it.
// And of a stage that is one, in the current strip.
uint32_t pn_windows_at_once(uint32_t quads, uint32_t most, uint32_t pixels);
uint32_t pn_conv_at_once(const pn_stage_t *s);

// Bytes of a strip's rings, in 64 bits because a plan not yet checked may ask for anything.
uint64_t pn_ring_bytes(const pn_stage_t *s);
uint64_t pn_wide_bytes(const pn_stage_t *s);

// A stage's parts of the work area, each behind the one before: sums or kept depthwise values, or what a convolution
// works in; the expanded lines of a group, or a convolution's pixels of the picture, or what a block's shortcut makes
// of a line; depthwise values of a pixel; at the next multiple of 4, where lines do not go into a map, output lines on
// their way.
typedef struct {
    uint64_t sums, wide, values, staging;
} pn_work_t;
pn_work_t pn_work(const pn_stage_t *s, bool pooled);

static inline uint64_t pn_staging_at(const pn_work_t *w) {
    return (w->sums + w->wide + w->values + 3) & ~3ull;
}

#endif
