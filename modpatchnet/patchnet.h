// patchnet engine: runs a .pnb blob (FORMAT.md) on one picture, in one arena, in bounded steps.
//
//     pn_model_t m;
//     int err = pn_open(&m, blob, blob_bytes);           // checks everything; m.arena_bytes is what a run needs
//     err = pn_start(&m, arena, arena_bytes, &picture); // or pn_start_raw
//     while ((err = pn_step(&m)) == PN_MORE) { }         // let others work in between (PN_WANT: see pn_open_streamed)
//     int32_t best = pn_logit(&m, 0);
//
// The engine allocates nothing, keeps no global state and calls nothing but memcpy and memset. Functions return PN_OK
// or a negative PN_ERR_* (engine/blob/pn_format.h). Blob, picture and arena belong to the caller and stay where they
// are until the run has ended; the blob's prefix, and in a run the arena, stay as they are (FORMAT.md, What is
// trusted). What a model holds is the caller's to read; functions change it.
//
// Where things are: each folder of engine/ includes only its own headers and those of the folders before it.
//   kernels  what is computed for a pixel or a line, on plain arrays; armv7em: the same integers in assembly
//   blob     bytes to records; the container and its CRC; checks of arrays
//   plan     which layer works next, on which lines; the check of a plan
//   run      carrying that out on maps, rings and windows; pictures; weights that come from a file
//   tasks    what ends a network: classify, detect, sound, raw, heat map; pn_task.c is the switch between them
//   engine   pn_open.c, pn_run.c: the functions below that put it all together
//
// Built with PN_NO_DETECT, PN_NO_SOUND or PN_NO_HEATMAP defined, the engine has no code for detection networks, audio
// models or heat maps and refuses their blobs by name; with PN_NO_FLOAT32 those of float32 networks. PN_PORTABLE leaves
// the assembly out.
#ifndef PATCHNET_H
#define PATCHNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/blob/pn_format.h"

// Where an arena must begin: at a multiple of this many bytes; a blob at one of PN_ALIGN.
#define PN_ARENA_ALIGN 8

// Bytes per pixel, so that a format can be inferred from a buffer's length.
typedef enum { PN_GRAYSCALE = 1, PN_RGB565 = 2, PN_RGB888 = 3 } pn_pixfmt_t;

// A picture: `w` x `h` pixels row by row without gaps, w * h * format bytes at `data`, and the region to look at.
// `data` NULL: the frame is nowhere in memory, and a window of it is given for each patch (see pn_window).
typedef struct {
    const uint8_t *data;
    uint32_t w, h;
    pn_pixfmt_t format;
    uint32_t roi_x, roi_y, roi_w, roi_h;
    uint32_t left, top; // for the engine to set: where in the frame `data` begins
} pn_image_t;

// ---- what a model consists of ----

// A kernel along one side of the map: its size, stride, how far it reaches before the map, and the size of a block's
// second one (0 for other kinds).
typedef struct {
    uint8_t kernel, stride, pad, second;
} pn_axis_t;

// One decoded layer with its input's shape and the integers of the current chain.
typedef struct {
    uint8_t index, kind, mode, flags;
    pn_axis_t y, x;
    uint16_t h, w, oh, ow;
    uint16_t cin, cexp, cout, rows, group, lines;
    uint32_t ring_at, wide_at, weight_off;
    int8_t zero_in, zero_mid, zero_add, zero_out;
    uint8_t shift, shift_1, shift_2;
    uint16_t res_mult;
} pn_layer_t;

// Layers that are run together (FORMAT.md, The plan).
typedef struct {
    uint8_t first, layers;
    bool columns; // lines are columns of a strip, else rows of the whole map
    uint8_t sink; // where the last layer's lines go
    uint16_t strip;
    uint32_t in_at, out_at, state_at, work_at;
} pn_segment_t;

// What the next step does: `stage` counts the segment's layers, `end` is one past the last output line of its chunk.
typedef struct {
    uint8_t action, stage;
    uint16_t end;
} pn_job_t;

// Weights that belong to `n` channels of a layer (all_layers: of the fully connected one) from channel `from` on.
typedef struct {
    uint8_t layer;
    uint16_t from, n;
} pn_part_t;

// Where the weights are. Of a streamed blob they come from a file into a buffer, during each run.
typedef struct {
    const uint8_t *at; // what lies at `from` in the blob: all arrays, those of a segment, or a part; NULL: none
    uint32_t from;
    uint8_t *buffer; // NULL if all is in memory
    uint32_t bytes; // of it
    uint32_t least, most; // that it must have, and of which it makes use
    uint32_t want_at, want_bytes, want_to; // after PN_WANT: what of the blob to read, and where to in the buffer
    uint32_t crc, unverified;
    pn_part_t part; // what is there, if the segment's weights are read in parts
    bool parted;
    uint8_t asked; // stretches of the file that were asked for
    uint16_t stay, held; // channels whose weights stay there until the segment ends, and those that are there
} pn_weights_t;

// A run: how far it is.
typedef struct {
    uint8_t *arena;
    const int8_t *raw; // NULL when a picture is read
    uint32_t map_at; // the last whole map, and the layer that made it
    uint8_t map_layer;
    bool windowed;
    uint8_t phase, tunnel, index, segment_index; // index: the layer that the next step belongs to
    uint16_t row; // first output row of the strip, or the next class
    pn_job_t job;
    pn_segment_t segment;
    pn_layer_t layer; // the segment's last
    pn_image_t image;
} pn_run_t;

// A detection network's candidates.
typedef struct {
    int8_t *outputs; // where the heads' outputs go as well, or NULL
    uint32_t outputs_done;
    uint16_t candidates;
    int16_t lowest, least; // of a class's value for a candidate: by the threshold, and now that there are better ones
    uint8_t scale; // of the next head
} pn_detecting_t;

// A heat map's boxes.
typedef struct {
    uint32_t threshold; // of 65536, the least score of a cell
    uint32_t cell; // that is next decided on; once all are, their number and that of the next to begin a box
    uint16_t spots;
} pn_heating_t;

// What an audio model has heard.
typedef struct {
    uint16_t frame; // samples that make a row
    uint16_t frame_at; // where the next sample goes in the ring of a frame's samples
    uint16_t missing; // samples until the next row; 0 before pn_listen
    uint16_t fresh; // rows since pn_listen or the last pn_spot
    uint16_t pause; // rows until pn_spot may answer again
    uint32_t crc; // of what the arena keeps, by pn_listen_pause
} pn_hearing_t;

// A model: what pn_open found, then what changes. In an order that Thumb instructions reach well: what is read most
// lies first, bytes before half-words before words.
typedef struct {
    const uint8_t *blob; // all of it or, streamed, its prefix
    uint8_t task; // PN_TASK_*
    bool pools, dense; // the last map is pooled; a fully connected layer follows
    #ifndef PN_NO_FLOAT32
    bool floats; // maps and weights are float32
    #endif
    uint8_t tunnels, layers, segments;
    uint8_t all_layers, all_segments; // of a chain and of what follows the chains
    uint8_t fault_layer; // where an error was found: layer index, or PN_NO_LAYER
    uint16_t channels, height, width, classes;
    uint16_t patch_h, patch_w;
    uint16_t map_h, map_w; // of the map that layers behind the chains read, or that the outputs are; else 0
    uint32_t arena_bytes;
    uint32_t features; // channels of the last map, or of what is made of those of several chains
    uint32_t outputs; // values of a run: one for each class, the last map's, or all that a detector's heads give
    union {
        pn_detecting_t detecting;
        pn_heating_t heating;
        pn_hearing_t hearing;
    } state;
    pn_run_t run;
    pn_weights_t weights;
} pn_model_t;

// ---- opening ----

// Checks `len` bytes at `blob` (at a multiple of PN_ALIGN) as FORMAT.md says. After PN_OK nothing in it can lead out of
// range. On an error `m->fault_layer` says in which layer, and `m` must not be run.
int pn_open(pn_model_t *m, const void *blob, size_t len);

// The same in steps, for who lets others work in between, or has little stack: after PN_OK, pn_open_step until it does
// not return PN_MORE. `work`: PN_OPEN_BYTES at a multiple of PN_ALIGN, the caller's again behind the last step.
// `prefix`: the blob, or a copy of its prefix (pn_prefix_bytes) for a blob that others may write to: its weights may
// then change as they like, which changes answers and nothing else. `blob` NULL: as pn_open_streamed, which `prefix` is
// for.
#define PN_OPEN_BYTES (PN_MAX_FUSED * PN_STATE_BYTES)
int pn_open_begin(pn_model_t *m, const void *prefix, const void *blob, size_t len, void *work);
int pn_open_step(pn_model_t *m);

// Opening a blob whose weights stay in a file. In memory is its prefix, all but the arrays of weights, of which this
// tells the bytes by the blob's first PN_HEADER_BYTES; 0 if they are no blob's.
uint32_t pn_prefix_bytes(const void *header);

// Checks what can be told from it. Then the caller gives it a buffer (pn_weights_buffer), and pn_step returns PN_WANT
// whenever weights must be read into that: weights.want_bytes from weights.want_at of the blob on, to weights.want_to
// of the buffer. They are looked at each time, so pn_step may then return PN_ERR_WEIGHTS or PN_ERR_OVERFLOW and the run
// is over.
int pn_open_streamed(pn_model_t *m, const void *prefix, size_t len);

// Makes `bytes` at `buffer` (at a multiple of PN_ALIGN) the model's: weights.least or more. Where the weights of a
// segment's layers have room there together they are read once for each chain, else in parts, again for each line but
// for those that can stay. With weights.most the whole file is read once. PN_ERR_ARENA, PN_ERR_ALIGN.
int pn_weights_buffer(pn_model_t *m, void *buffer, uint32_t bytes);

// Gives the buffer back, for the caller to free. NULL if there is none.
void *pn_weights_leave(pn_model_t *m);

// The CRC of such a blob: takes all that follows the prefix, in order, in pieces. PN_MORE, PN_OK at the end, or
// PN_ERR_CRC.
int pn_verify(pn_model_t *m, const void *data, size_t n);

// A short text for an error of any function: "magic", "version", "CRC", ...
const char *pn_error(int err);

// ---- what a person wants to know ----

// The labels as they lie in the blob: UTF-8, each ended by '\n'. Returns their bytes.
size_t pn_labels(const pn_model_t *m, const char **text);

// Real values: input (q - input_zero[channel]) * input_scale, output (q - output_zero) * output_scale.
typedef struct {
    int8_t input_zero[4]; // of a picture's channels; where the input is no picture, the first one of all
    int16_t output_zero; // of a detection network: of its classes' values, as output_scale
    float input_scale, output_scale;
} pn_info_t;
void pn_info(const pn_model_t *m, pn_info_t *info);

// What layer `index` (0..layers - 1) does; it does the same in all tunnels.
typedef struct {
    uint8_t kind; // PN_KIND_*
    pn_axis_t y, x;
} pn_op_t;
pn_op_t pn_op(const pn_model_t *m, uint32_t index);

// "classify", "detect", "audio", "raw" or "heatmap".
const char *pn_task_name(const pn_model_t *m);

// Whether the input is a picture, else it is to be given raw.
static inline bool pn_sees(const pn_model_t *m) {
    return m->channels == 1 || m->channels == 3;
}

// Whether maps and weights are float32: then its outputs are those of pn_value, instead of pn_output.
#ifdef PN_NO_FLOAT32
#define pn_floats(m) ((void)(m), false)
#else
static inline bool pn_floats(const pn_model_t *m) {
    return m->floats;
}
#endif

// Whether the model detects: its outputs are those of heads, which pn_boxes_prepare asks for, instead of pn_output.
#ifdef PN_NO_DETECT
#define pn_detects(m) ((void)(m), false)
#else
static inline bool pn_detects(const pn_model_t *m) {
    return m->task == PN_TASK_DETECT;
}
#endif

// Whether it classifies what layers make of all tunnels' maps together.
#ifdef PN_NO_DETECT
#define pn_merges(m) ((void)(m), false)
#else
static inline bool pn_merges(const pn_model_t *m) {
    return m->pools && m->map_h > 0;
}
#endif

// Whether the model is for audio: then pn_sound and what follows it is for it as well.
#ifdef PN_NO_SOUND
#define pn_hears(m) ((void)(m), false)
#else
static inline bool pn_hears(const pn_model_t *m) {
    return m->task == PN_TASK_AUDIO;
}
#endif

// Whether it is a heat map.
#ifdef PN_NO_HEATMAP
#define pn_heats(m) ((void)(m), false)
#else
static inline bool pn_heats(const pn_model_t *m) {
    return m->task == PN_TASK_HEATMAP;
}
#endif

// Whether it finds boxes: then pn_boxes and what belongs to it is for it.
static inline bool pn_finds(const pn_model_t *m) {
    return pn_detects(m) || pn_heats(m);
}

// Whether its outputs are its last map, map_h x map_w x features.
static inline bool pn_maps(const pn_model_t *m) {
    return m->task == PN_TASK_RAW || pn_heats(m);
}

// Whether it tells classes: then pn_logit, pn_softmax and pn_score are for it.
static inline bool pn_classifies(const pn_model_t *m) {
    return !pn_detects(m) && !pn_maps(m);
}

// ---- running ----

// Begins a run on a picture, or on height * width * channels int8 values (of a picture pixel - 128, HWC). `arena`: at a
// multiple of PN_ARENA_ALIGN, `len` >= arena_bytes, contents of no matter. PN_ERR_ARENA, PN_ERR_ALIGN, PN_ERR_ROI;
// PN_ERR_PIXFMT also for a picture where the input is none.
int pn_start(pn_model_t *m, void *arena, size_t len, const pn_image_t *image);
int pn_start_raw(pn_model_t *m, void *arena, size_t len, const int8_t *x);

// Does a bounded piece of work: one chunk of lines of one group of channels, or less. PN_MORE until the run has ended,
// then PN_OK. PN_WANT and errors come from streamed blobs only. run.tunnel and run.index, read before the call, tell
// which layer the step belongs to; index == all_layers stands for what follows the layers.
int pn_step(pn_model_t *m);

// A sum over what the run keeps of itself in the arena, for who lets others at it between steps: where it is another
// one then, the run must not go on. Others may write to all else in the arena, and get other numbers.
uint32_t pn_state(const pn_model_t *m);

// Of a picture without data: each time pn_step returns PN_WINDOW, the part of the frame that pn_window tells must be
// given: its w * h pixels, which stay where they are until the next PN_WINDOW or the end. All that the patch's pixels
// are averaged from is in it, so the numbers are those of the whole frame, if that does not change meanwhile.
// PN_ERR_PIXFMT.
typedef struct {
    uint32_t x, y, w, h;
} pn_window_t;
void pn_window(const pn_model_t *m, pn_window_t *window);
int pn_give(pn_model_t *m, const uint8_t *data, pn_pixfmt_t format);

// After a run, or when it is given up: forgets what was borrowed for it, but for the arena, in which the results lie.
void pn_release(pn_model_t *m);

// After a run, until the next: int8 output `i` of m->outputs, and the logit of a class with 8 fraction bits.
int8_t pn_output(const pn_model_t *m, uint32_t i);
int32_t pn_logit(const pn_model_t *m, uint32_t i);

#ifndef PN_NO_FLOAT32

// The same of a float32 network: output `i`, a logit or a value of the last map. pn_logit then tells a logit in steps of
// ln 2 / 2^15.
float pn_value(const pn_model_t *m, uint32_t i);

#endif

// The classes' scores (FORMAT.md, Scores): softmax over the logits, or a sigmoid of each. pn_softmax once, then
// pn_score(i) = 0..65536 for a probability of n / 65536.
typedef struct {
    int32_t best;
    uint64_t sum;
} pn_softmax_t;
void pn_softmax(const pn_model_t *m, pn_softmax_t *s);
uint32_t pn_score(const pn_model_t *m, const pn_softmax_t *s, uint32_t i);

// ---- networks that find boxes ----

// Before a run; it holds for those after it as well, but for `outputs`, which is for one (pn_release). Boxes, or cells
// of a heat map, with a score of `threshold` (of 65536) or more are candidates; none are before the first call.
// `outputs`, of a detection network: NULL, or m->outputs bytes for the heads' int8 outputs: scale after scale, row by
// row, pixel by pixel.
void pn_boxes_prepare(pn_model_t *m, uint32_t threshold, int8_t *outputs);

// A box that was found, in pixels of the picture (of the network's input if that was raw), inside the region that was
// looked at.
typedef struct {
    uint32_t x, y, w, h;
    uint32_t label; // index of the class
    uint32_t score; // of 65536
} pn_box_t;

// After a run: drops each candidate of a detection network that overlaps a better one of its class, intersection /
// union being more than `iou` of 65536. Returns the number of boxes left, which pn_box tells, best first.
uint32_t pn_boxes(pn_model_t *m, uint32_t iou);
void pn_box(const pn_model_t *m, uint32_t i, pn_box_t *box);

#ifndef PN_NO_SOUND

// ---- audio models ----

// What an audio model hears, and how pn_spot answers (FORMAT.md, Spotting): of the latter the caller may change what
// the blob says. Scores are 0..65536.
typedef struct {
    uint32_t rate, hop; // samples a second, and from row to row
    uint32_t samples; // of a clip that fills the network's input
    uint32_t every, pause; // rows from run to run, rows without an answer after one (0..65535)
    uint32_t smooth; // weight of the newest score, 1..256 for all of it
    uint32_t threshold, background; // least score of an answer; the class that is none
} pn_sound_t;
pn_sound_t pn_sound(const pn_model_t *m);

// Begins to listen, with silence before it. From then on the arena keeps what was heard: between calls it must stay
// where it is, and its contents from the rows' end down to the scores untouched, which runs do. PN_ERR_ARENA,
// PN_ERR_ALIGN.
int pn_listen(pn_model_t *m, void *arena, size_t len);

// Where the arena may be used by others between calls: pn_listen_pause leaves it to them, then pn_listen_goes_on tells
// whether listening has begun in it and all that was heard is still there. If not, pn_listen begins anew.
void pn_listen_pause(pn_model_t *m);
bool pn_listen_goes_on(const pn_model_t *m, const void *arena);

// Its end: what is heard next is another sound.
void pn_listen_end(pn_model_t *m);

// After pn_listen, not during a run: takes at most `n` samples (int16, little-endian, at any address; zeros if `pcm` is
// NULL), up to the end of the next row, which it makes. Returns how many. state.hearing.fresh counts the rows.
uint32_t pn_hear(pn_model_t *m, const void *pcm, uint32_t n);

// The last height rows, for pn_start_raw.
int8_t *pn_rows(const pn_model_t *m);

// After a run over them: averages the scores; the class that is now answered and its averaged score, or -1.
int32_t pn_spot(pn_model_t *m, const pn_sound_t *s, uint32_t *score);

#endif

#endif
