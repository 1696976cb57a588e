// Made by `python host_tools/patchnet/format.py`: do not edit. What host and engine share: what functions
// return, constants, offsets of .pnb fields (FORMAT.md).
#ifndef PN_FORMAT_H
#define PN_FORMAT_H

// What functions return: PN_OK or how it goes on, or an error, each of one cause, which pn_error names.
#define PN_OK 0
#define PN_MORE 1 // there is more to do
#define PN_WANT 2 // weights are to be read
#define PN_WINDOW 3 // a window is to be given
#define PN_ERR_LENGTH (-1) // fewer bytes than a header, or than the header says
#define PN_ERR_ALIGN (-2) // blob not at a multiple of PN_ALIGN, or arena not at one of PN_ARENA_ALIGN
#define PN_ERR_MAGIC (-3)
#define PN_ERR_VERSION (-4)
#define PN_ERR_CRC (-5)
#define PN_ERR_TASK (-6) // of a kind that is not known, or its record is wrong
#define PN_ERR_SHAPE (-7) // a size, count, kernel, stride or flag out of range
#define PN_ERR_PATCH (-8) // a patch outside the picture
#define PN_ERR_WEIGHTS (-9) // an array outside the blob or misaligned; a multiplier, shift or zero point out of range
#define PN_ERR_OVERFLOW (-10) // a sum that could leave 32 bits
#define PN_ERR_LABELS (-11)
#define PN_ERR_PLAN (-12) // a schedule that does not fit its layers, a place outside the arena, live bytes overwritten
#define PN_ERR_ARENA (-13) // the arena given is smaller than arena_bytes, or the buffer than weights.least
#define PN_ERR_PIXFMT (-14)
#define PN_ERR_ROI (-15) // region empty, outside the picture, or larger than 4096 x 4096
#define PN_ERR_NO_DETECT (-16) // a detection network, and the engine is built without (PN_NO_DETECT)
#define PN_ERR_NO_SOUND (-17) // an audio model, and the engine is built without (PN_NO_SOUND)
#define PN_ERR_NO_HEATMAP (-18) // a heat map, and the engine is built without (PN_NO_HEATMAP)
#define PN_ERR_NO_FLOAT32 (-19) // a float32 network, and the engine is built without (PN_NO_FLOAT32)

#define PN_MAGIC 0x1a424e50u
#define PN_VERSION 8
#define PN_ALIGN 4
#define PN_TASK_CLASSIFY 1
#define PN_TASK_DETECT 2
#define PN_TASK_AUDIO 3
#define PN_TASK_RAW 4
#define PN_TASK_HEATMAP 5
#define PN_KIND_CONV 1
#define PN_KIND_BOTTLENECK 2
#define PN_KIND_BLOCK 3
#define PN_KIND_MAXPOOL 4
#define PN_KIND_MEANPOOL 5
#define PN_KIND_INT4 6
#define PN_KIND_INT8 7
#define PN_DTYPE_INT8 0
#define PN_DTYPE_FLOAT32 1
#define PN_ACT_NONE 0
#define PN_ACT_RELU 1
#define PN_ACT_RELU6 2
#define PN_FLAG_EXPAND 1
#define PN_FLAG_RESIDUAL 2
#define PN_FLAG_SIGNED 4
#define PN_FLAG_PAIRS 8
#define PN_FLAG_HEAD 16
#define PN_FLAG_COLUMNS 32
#define PN_FLAG_NARROW 64
#define PN_FLAG_BYTES 128
#define PN_AGGREGATE_SUM 0
#define PN_AGGREGATE_CONCAT 1
#define PN_FIT_STRETCH 0
#define PN_FIT_CROP 1
#define PN_MODE_DIRECT 0
#define PN_MODE_ROLLING 1
#define PN_MODE_WINDOW 2
#define PN_MODE_GROUPS 3
#define PN_MODE_STORED 4
#define PN_MODE_FAST 5
#define PN_MODE_SWEEP 6
#define PN_MODE_COVER 7
#define PN_MAX_SIDE 4096
#define PN_MAX_REDUCTION 32768
#define PN_MAX_SHIFT 16
#define PN_MAX_KERNEL 15
#define PN_MAX_COVER 255
#define PN_MAX_FAST_INPUTS 508
#define PN_MAX_FAST_GROUP 256
#define PN_SCORES_SOFTMAX 0
#define PN_SCORES_SIGMOID 1
#define PN_MAX_TUNNELS 17
#define PN_MAX_LAYERS 255
#define PN_MAX_FUSED 16
#define PN_MAX_LINES 8192
#define PN_STATE_BYTES 60
#define PN_MAX_TOP 1000
#define PN_CANDIDATE_BYTES 12
#define PN_SPOT_BYTES 16
#define PN_MIN_FFT 32
#define PN_MAX_FFT 2048
#define PN_MAX_TWIDDLE 1073807360
#define PN_NO_CLASS 65535
#define PN_LEAST_OUTPUTS 4
#define PN_WIDENED_BYTES 1024
#define PN_QUAD_BYTES 16
#define PN_LOG_BITS 8
#define PN_NO_LAYER 255

#define PN_HEADER_BYTES 116
#define PN_HEADER_MAGIC 0
#define PN_HEADER_VERSION 4
#define PN_HEADER_HEADER_BYTES 6
#define PN_HEADER_SIZE 8
#define PN_HEADER_CRC 12
#define PN_HEADER_TASK 16
#define PN_HEADER_TUNNELS 17
#define PN_HEADER_LAYERS 18
#define PN_HEADER_FIT 19
#define PN_HEADER_CHANNELS 20
#define PN_HEADER_CLASSES 22
#define PN_HEADER_HEIGHT 24
#define PN_HEADER_WIDTH 26
#define PN_HEADER_PATCH_H 28
#define PN_HEADER_PATCH_W 30
#define PN_HEADER_INPUT_ZERO 32
#define PN_HEADER_AGGREGATE 36
#define PN_HEADER_SCORES 37
#define PN_HEADER_POOL_SHIFT 38
#define PN_HEADER_POOL_ZERO 39
#define PN_HEADER_FC_SHIFT 40
#define PN_HEADER_FC_ZERO 41
#define PN_HEADER_DTYPE 42
#define PN_HEADER_SIZED 43
#define PN_HEADER_PATCH_OFF 44
#define PN_HEADER_LAYER_OFF 48
#define PN_HEADER_SEGMENT_OFF 52
#define PN_HEADER_SEGMENTS 56
#define PN_HEADER_PARAM_OFF 60
#define PN_HEADER_LABEL_OFF 64
#define PN_HEADER_LABEL_BYTES 68
#define PN_HEADER_POOL_MULT 72
#define PN_HEADER_FC_OFF 76
#define PN_HEADER_SOFTMAX_MULT 80
#define PN_HEADER_INPUT_SCALE 84
#define PN_HEADER_OUTPUT_SCALE 88
#define PN_HEADER_ARENA_BYTES 92
#define PN_HEADER_SUM_AT 96
#define PN_HEADER_FEATURE_AT 100
#define PN_HEADER_LOGIT_AT 104
#define PN_HEADER_TASK_OFF 108
#define PN_HEADER_WEIGHT_OFF 112

#define PN_PATCH_BYTES 4
#define PN_PATCH_Y 0
#define PN_PATCH_X 2

#define PN_SIZED_PATCH_BYTES 8
#define PN_SIZED_PATCH_Y 0
#define PN_SIZED_PATCH_X 2
#define PN_SIZED_PATCH_HEIGHT 4
#define PN_SIZED_PATCH_WIDTH 6

#define PN_LAYER_BYTES 32
#define PN_LAYER_KIND 0
#define PN_LAYER_MODE 1
#define PN_LAYER_FLAGS 2
#define PN_LAYER_KERNEL_H 4
#define PN_LAYER_KERNEL_W 5
#define PN_LAYER_STRIDE_H 6
#define PN_LAYER_STRIDE_W 7
#define PN_LAYER_PAD_TOP 8
#define PN_LAYER_PAD_BOTTOM 9
#define PN_LAYER_PAD_LEFT 10
#define PN_LAYER_PAD_RIGHT 11
#define PN_LAYER_SECOND_H 12
#define PN_LAYER_SECOND_W 13
#define PN_LAYER_CEXP 14
#define PN_LAYER_COUT 16
#define PN_LAYER_ROWS 18
#define PN_LAYER_GROUP 20
#define PN_LAYER_LINES 22
#define PN_LAYER_RING_AT 24
#define PN_LAYER_WIDE_AT 28

#define PN_SEGMENT_BYTES 20
#define PN_SEGMENT_FIRST 0
#define PN_SEGMENT_LAYERS 1
#define PN_SEGMENT_STRIP 2
#define PN_SEGMENT_IN_AT 4
#define PN_SEGMENT_OUT_AT 8
#define PN_SEGMENT_STATE_AT 12
#define PN_SEGMENT_WORK_AT 16

#define PN_PARAM_BYTES 12
#define PN_PARAM_ZERO_OUT 0
#define PN_PARAM_ZERO_MID 1
#define PN_PARAM_SHIFT 2
#define PN_PARAM_SHIFT_1 3
#define PN_PARAM_SHIFT_2 4
#define PN_PARAM_ZERO_ADD 5
#define PN_PARAM_RES_MULT 6
#define PN_PARAM_WEIGHT_OFF 8

#define PN_DETECT_BYTES 44
#define PN_DETECT_MAP_H 0
#define PN_DETECT_MAP_W 2
#define PN_DETECT_TOP 4
#define PN_DETECT_CLS_ZERO 6
#define PN_DETECT_LAYERS 8
#define PN_DETECT_SEGMENTS 9
#define PN_DETECT_SCALES 10
#define PN_DETECT_CLS_MULT 12
#define PN_DETECT_CENTRE_MULT 16
#define PN_DETECT_SIZE_MULT 20
#define PN_DETECT_PLACE_OFF 24
#define PN_DETECT_SCALE_OFF 28
#define PN_DETECT_STITCH_AT 32
#define PN_DETECT_CANDIDATE_AT 36
#define PN_DETECT_BOX_SCALE 40

#define PN_PLACE_BYTES 12
#define PN_PLACE_FROM_Y 0
#define PN_PLACE_FROM_X 2
#define PN_PLACE_TO_Y 4
#define PN_PLACE_TO_X 6
#define PN_PLACE_H 8
#define PN_PLACE_W 10

#define PN_SCALE_BYTES 16
#define PN_SCALE_STEP_Y 0
#define PN_SCALE_STEP_X 4
#define PN_SCALE_ANCHORS 8
#define PN_SCALE_ANCHOR_OFF 12

#define PN_ANCHOR_BYTES 4
#define PN_ANCHOR_H 0
#define PN_ANCHOR_W 2

#define PN_AUDIO_BYTES 72
#define PN_AUDIO_RATE 0
#define PN_AUDIO_FRAME 4
#define PN_AUDIO_HOP 6
#define PN_AUDIO_FFT 8
#define PN_AUDIO_EVERY 10
#define PN_AUDIO_LOG_MULT 12
#define PN_AUDIO_LOG_OFFSET 16
#define PN_AUDIO_THRESHOLD 20
#define PN_AUDIO_SMOOTH 24
#define PN_AUDIO_PAUSE 26
#define PN_AUDIO_BACKGROUND 28
#define PN_AUDIO_WINDOW_OFF 32
#define PN_AUDIO_TWIDDLE_OFF 36
#define PN_AUDIO_BAND_OFF 40
#define PN_AUDIO_WEIGHT_OFF 44
#define PN_AUDIO_WEIGHT_BYTES 48
#define PN_AUDIO_STREAM_AT 52
#define PN_AUDIO_LOW 56
#define PN_AUDIO_HIGH 60
#define PN_AUDIO_FLOOR 64
#define PN_AUDIO_TOP 68

#define PN_HEATMAP_BYTES 12
#define PN_HEATMAP_BACKGROUND 0
#define PN_HEATMAP_TOP 2
#define PN_HEATMAP_CELL_AT 4
#define PN_HEATMAP_SPOT_AT 8

#endif
