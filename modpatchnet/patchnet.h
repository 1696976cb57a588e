// patchnet engine: runs a .pnb blob (FORMAT.md) on one picture, in one arena, in bounded steps.
//
//     pn_model_t m;
//     int err = pn_open(&m, blob, blob_bytes);           // checks everything; m.arena_bytes is what a run needs
//     err = pn_start(&m, arena, arena_bytes, &picture);  // or pn_start_raw
//     while ((err = pn_step(&m)) == PN_MORE) { }         // let others work in between (PN_WANT: see pn_open_head)
//     int32_t best = pn_logit(&m, 0);
//
// The engine allocates nothing, keeps no global state and calls nothing but memcpy and memset. Functions return PN_OK or
// a negative PN_ERR_*. Blob, picture and arena belong to the caller and stay where they are until the run has ended.
#ifndef PATCHNET_H
#define PATCHNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Each error is one cause; pn_error names it in words.
enum {
    PN_OK = 0,
    PN_MORE = 1,
    PN_WANT = 2,
    PN_WINDOW = 3,
    PN_ERR_LENGTH = -1,  // fewer bytes than a header, or than the header says
    PN_ERR_ALIGN = -2,  // blob not at a multiple of PN_BLOB_ALIGN, or arena not at one of PN_ARENA_ALIGN
    PN_ERR_MAGIC = -3,
    PN_ERR_VERSION = -4,
    PN_ERR_CRC = -5,
    PN_ERR_TASK = -6,
    PN_ERR_SHAPE = -7,  // a size, count, kernel, stride or flag out of range
    PN_ERR_PATCH = -8,  // a patch outside the picture
    PN_ERR_WEIGHTS = -9,  // an array outside the blob or misaligned; a multiplier, shift or zero point out of range
    PN_ERR_OVERFLOW = -10,  // a sum that could leave 32 bits
    PN_ERR_LABELS = -11,
    PN_ERR_PLAN = -12,  // a schedule that does not fit the layers, a place outside the arena, something live overwritten
    PN_ERR_ARENA = -13,  // the arena given is smaller than arena_bytes, or the buffer than buffer_least
    PN_ERR_PIXFMT = -14,
    PN_ERR_ROI = -15,  // region empty, outside the picture, or larger than 4096 x 4096
};

// Where blob and arena must begin: at a multiple of this many bytes.
#define PN_BLOB_ALIGN 4
#define PN_ARENA_ALIGN 8

// Bytes of a blob's header.
#define PN_BLOB_HEADER 112

#define PN_NO_LAYER 255

// Bytes per pixel, so that a format can be inferred from a buffer's length.
typedef enum { PN_GRAYSCALE = 1, PN_RGB565 = 2, PN_RGB888 = 3 } pn_pixfmt_t;

// A picture: `w` x `h` pixels row by row without gaps, w * h * format bytes at `data`, and the region to look at.
// `data` NULL: the frame is nowhere in memory, and a window of it is given for each patch (see pn_window).
typedef struct {
    const uint8_t *data;
    uint32_t w, h;
    pn_pixfmt_t format;
    uint32_t roi_x, roi_y, roi_w, roi_h;
    uint32_t left, top;  // for the engine to set: where in the frame `data` begins
} pn_image_t;

// One decoded layer with its input's shape and the integers of the current chain.
typedef struct {
    uint8_t index, kind, kernel, stride, flags;
    uint16_t h, w, oh, ow;
    uint16_t cin, cexp, cout, mode, rows, group, lines;
    uint32_t ring_at, wide_at, weight_off;
    int8_t zero_in, zero_out;
    uint8_t shift;
    uint16_t res_mult;
} pn_layer_t;

// Layers that are run together (FORMAT.md, The plan).
typedef struct {
    uint8_t first, layers;
    bool columns;  // lines are columns of a strip, else rows of the whole map
    uint8_t sink;  // where the last layer's lines go
    uint16_t strip;
    uint32_t in_at, out_at, state_at, work_at;
} pn_segment_t;

// What the next step does: `stage` counts the segment's layers, `end` is one past the last output line of its chunk.
typedef struct {
    uint8_t action, stage;
    uint16_t end;
} pn_job_t;

// Which of a streamed blob's weights are in its buffer: those that belong to `n` channels of a layer (all_layers: of the fully connected
// one) from channel `from` on.
typedef struct {
    uint8_t layer;
    uint16_t from, n;
} pn_part_t;

// A model: filled by pn_open, then only read by the caller.
typedef struct {
    const uint8_t *blob; // all of it, or its head
    const uint8_t *weights; // what lies at `weights_at` in the blob: all arrays, those of a segment, or a part; NULL: none are in memory
    uint32_t weights_at;
    uint32_t arena_bytes;
    uint32_t features;  // length of the vector that the fully connected layer reads; of a detection network, channels of the stitched map
    uint32_t outputs;  // int8 values that a run gives: one for each class, or all that the heads of a detection network give
    uint16_t height, width, classes;
    uint16_t patch_h, patch_w;
    uint16_t map_h, map_w;  // of the stitched map of a detection network, else 0
    uint8_t channels, tunnels, layers, segments;
    uint8_t all_layers, all_segments;  // of a chain and of what follows the chains
    uint8_t fault_layer;  // where pn_open found a fault: layer index, or PN_NO_LAYER
    // a streamed blob
    uint8_t *buffer; // NULL if all is in memory
    uint32_t buffer_bytes;
    uint32_t buffer_least, buffer_most; // that it must have, and of which it makes use
    uint32_t want_at, want_bytes, want_to; // after PN_WANT: what of the blob to read, and where to in the buffer
    uint32_t crc, unverified;
    pn_part_t part;
    bool parted; // the segment's weights are read in parts
    uint8_t asked; // stretches of the file that were asked for
    uint16_t stay, held; // channels of which the weights stay in the buffer until the segment ends, and those that are there
    // the run
    uint8_t *arena;
    const int8_t *raw;  // NULL when a picture is read
    bool windowed;
    pn_image_t image;
    int8_t *heads;  // where the heads' outputs go as well, or NULL
    uint32_t heads_done, map_at;
    uint16_t candidates;
    int16_t lowest, least;  // of a class's value for a candidate: by the threshold, and now that there are better ones
    uint8_t phase, tunnel, index, segment_index, scale, map_layer;
    uint16_t row;  // first output row of the strip, or the next class
    pn_segment_t segment;
    pn_job_t task;
    pn_layer_t layer;  // the segment's last
    // the stream of an audio model
    uint16_t frame;  // samples that make a row; 0 in other models
    uint16_t frame_at;  // where the next sample goes in the ring of a frame's samples
    uint16_t missing;  // samples until the next row; 0 before pn_listen
    uint16_t fresh;  // rows since pn_listen or the last pn_spot
    uint16_t pause;  // rows until pn_spot may answer again
} pn_model_t;

// Checks `len` bytes at `blob` (at a multiple of 4) as FORMAT.md says. After PN_OK nothing in it can lead out of range.
// On an error `m->fault_layer` says in which layer, and `m` must not be run.
int pn_open(pn_model_t *m, const void *blob, size_t len);

// Bytes of the head of the blob that begins with these PN_BLOB_HEADER bytes, 0 if it is none.
uint32_t pn_head_bytes(const void *header);

// Opening a blob of which only the head is in memory: all but the arrays of weights. Checks what can be told from it. Then the caller gives
// it a buffer (pn_use_buffer), and pn_step returns PN_WANT whenever weights must be read into that: m->want_bytes from m->want_at of the blob on, to
// m->want_to of the buffer. They are looked at each time, so pn_step may then return PN_ERR_WEIGHTS or PN_ERR_OVERFLOW and the run is over.
int pn_open_head(pn_model_t *m, const void *head, size_t len);

// Makes `bytes` at `buffer` (at a multiple of 4) the model's: m->buffer_least or more. Where the weights of a segment's layers have room there
// together they are read once for each chain, else in parts, again for each line but for those that can stay. With m->buffer_most the
// whole file is read once. PN_ERR_ARENA, PN_ERR_ALIGN.
int pn_use_buffer(pn_model_t *m, void *buffer, uint32_t bytes);

// The CRC of such a blob: takes all that follows the head, in order, in pieces. PN_MORE, PN_OK at the end, or PN_ERR_CRC.
int pn_verify(pn_model_t *m, const void *data, size_t n);

// A short text for an error of any function: "magic", "version", "CRC", ...
const char *pn_error(int err);

// The labels as they lie in the blob: UTF-8, each ended by '\n'. Returns their bytes.
size_t pn_labels(const pn_model_t *m, const char **text);

// What a person wants to know of a model. Real values: input (q - input_zero[channel]) * input_scale, output
// (q - output_zero) * output_scale.
typedef struct {
    int8_t input_zero[4];  // of `channels` channels
    int16_t output_zero;  // of a detection network: of its classes' values, as output_scale
    float input_scale, output_scale;
} pn_info_t;
void pn_info(const pn_model_t *m, pn_info_t *info);

// What an audio model hears, and how pn_spot answers (FORMAT.md, Spotting): of the latter the caller may change what the
// blob says. Scores are 0..65536.
typedef struct {
    uint32_t rate, hop;  // samples a second, and from row to row
    uint32_t samples;  // of a clip that fills the network's input
    uint32_t every, pause;  // rows from run to run, rows without an answer after one (0..65535)
    uint32_t smooth;  // weight of the newest score, 1..256 for all of it
    uint32_t threshold, background;  // least score of an answer; the class that is none
} pn_sound_t;
pn_sound_t pn_sound(const pn_model_t *m);

// Whether the model is for audio: then the functions below that begin a stream are for it.
static inline bool pn_hears(const pn_model_t *m) {
    return m->frame > 0;
}

// What layer `index` (0..layers - 1) does; it does the same in all tunnels.
typedef struct {
    bool bottleneck;  // else a dense convolution
    uint8_t kernel, stride;
} pn_op_t;
pn_op_t pn_op(const pn_model_t *m, uint32_t index);

// Whether the model detects: then pn_detect and pn_box are for it, else pn_logit, pn_output and pn_score.
static inline bool pn_detects(const pn_model_t *m) {
    return m->map_h > 0;
}

// Begins a run on a picture, or on height * width * channels int8 values (pixel - 128, HWC). `arena`: at a multiple of 8,
// `len` >= arena_bytes, contents of no matter. PN_ERR_ARENA, PN_ERR_ALIGN, PN_ERR_PIXFMT, PN_ERR_ROI.
int pn_start(pn_model_t *m, void *arena, size_t len, const pn_image_t *image);
int pn_start_raw(pn_model_t *m, void *arena, size_t len, const int8_t *x);

// Of a picture without data: each time pn_step returns PN_WINDOW, the part of the frame that pn_window tells must be given: its
// w * h pixels, which stay where they are until the next PN_WINDOW or the end. All that the patch's pixels are averaged from is in it,
// so the numbers are those of the whole frame, if that does not change meanwhile. PN_ERR_PIXFMT.
typedef struct {
    uint32_t x, y, w, h;
} pn_window_t;
void pn_window(const pn_model_t *m, pn_window_t *window);
int pn_give(pn_model_t *m, const uint8_t *data, pn_pixfmt_t format);

// Audio models only. Begins a stream, with silence before it. From then on the arena keeps it: between calls it must stay where it
// is, and its contents from the rows' end down to the scores untouched, which runs do. PN_ERR_ARENA, PN_ERR_ALIGN.
int pn_listen(pn_model_t *m, void *arena, size_t len);

// After pn_listen, not during a run: takes at most `n` samples (int16, little-endian, at any address; zeros if `pcm` is NULL), up to
// the end of the next row, which it makes. Returns how many. m->fresh counts the rows.
uint32_t pn_hear(pn_model_t *m, const void *pcm, uint32_t n);

// The last height rows, for pn_start_raw.
int8_t *pn_rows(const pn_model_t *m);

// After a run over them: averages the scores; the class that is now answered and its averaged score, or -1.
int32_t pn_spot(pn_model_t *m, const pn_sound_t *s, uint32_t *score);

// For a detection network, before a run; it holds for those after it as well. Boxes with a score of `threshold` (of 65536) or more
// are candidates; none are before the first call. `heads`: NULL, or m->outputs bytes for the heads' int8 outputs: scale after
// scale, row by row, pixel by pixel.
void pn_detect(pn_model_t *m, uint32_t threshold, int8_t *heads);

// Does a bounded piece of work: one chunk of lines of one group of channels, or less. PN_MORE until the run has ended, then PN_OK.
// PN_WANT and errors come from streamed blobs only. m->tunnel and m->index, read before the call, tell which layer the step belongs to;
// index == all_layers stands for what follows the layers.
int pn_step(pn_model_t *m);

// A box that was found, in pixels of the picture (of the network's input if that was raw), inside the region that was looked at.
typedef struct {
    uint32_t x, y, w, h;
    uint32_t label;  // index of the class
    uint32_t score;  // of 65536
} pn_box_t;

// After a run of a detection network: drops each candidate that overlaps a better one of its class, intersection / union being more
// than `iou` of 65536. Returns the number of boxes left, which pn_box tells, best first.
uint32_t pn_boxes(pn_model_t *m, uint32_t iou);
void pn_box(const pn_model_t *m, uint32_t i, pn_box_t *box);

// After a run, until the next: the logit of a class with 8 fraction bits, and its int8 value.
int32_t pn_logit(const pn_model_t *m, uint32_t i);
int8_t pn_output(const pn_model_t *m, uint32_t i);

// Softmax over the logits (FORMAT.md, Scores). pn_softmax once, then pn_score(i) = 0..65536 for a probability of n / 65536.
typedef struct {
    int32_t best;
    uint64_t sum;
} pn_softmax_t;
void pn_softmax(const pn_model_t *m, pn_softmax_t *s);
uint32_t pn_score(const pn_model_t *m, const pn_softmax_t *s, uint32_t i);

#endif
