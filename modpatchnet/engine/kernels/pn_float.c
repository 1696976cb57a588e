#include "engine/kernels/pn_float.h"

#include <string.h>

#ifndef PN_NO_FLOAT32

#define SOME 32 // int8 values that become floats at a time

// Four outputs at a time hide what an addition waits for the one before; each has its own sum, so nothing changes.
void pn_float_dots(const float *x, const float *w, uint32_t n, uint32_t row, uint32_t outputs, float *sums) {
    for (; outputs >= 4; outputs -= 4, w += 4 * row, sums += 4) {
        const float *w1 = w + row, *w2 = w1 + row, *w3 = w2 + row;
        float s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
        for (uint32_t i = 0; i < n; i++) {
            s0 += w[i] * x[i];
            s1 += w1[i] * x[i];
            s2 += w2[i] * x[i];
            s3 += w3[i] * x[i];
        }
        sums[0] = s0;
        sums[1] = s1;
        sums[2] = s2;
        sums[3] = s3;
    }
    for (; outputs > 0; outputs--, w += row, sums++) {
        float s = *sums;
        for (uint32_t i = 0; i < n; i++) {
            s += w[i] * x[i];
        }
        *sums = s;
    }
}

void pn_float_dots8(const pn_window_f_t *k, const int8_t *x, const float *w, uint32_t n, uint32_t row, uint32_t outputs,
    float *sums) {
    float values[SOME];
    int c = 0;
    for (uint32_t some; n > 0; n -= some, x += some, w += some) {
        some = n < SOME ? n : SOME;
        for (uint32_t i = 0; i < some; i++) {
            values[i] = (float)(x[i] - k->zero[c * k->zero_step]);
            c = c + 1 < k->cin ? c + 1 : 0;
        }
        pn_float_dots(values, w, some, row, outputs, sums);
    }
}

// The pixel under tap (row, column) of the kernel; NULL outside the map.
static const uint8_t *pixel(const pn_window_f_t *k, int x0, int row, int column) {
    int x = x0 + (k->columns ? row : column);
    const uint8_t *line = k->in.rows[k->columns ? column : row];
    return line == NULL || x < 0 || x >= k->in.w ? NULL : line + x * k->in.step;
}

static const float *floats(const uint8_t *p) {
    return (const float *)(const void *)p;
}

static int height(const pn_window_f_t *k) {
    return k->columns ? k->in.pixels : k->in.lines;
}

static int width(const pn_window_f_t *k) {
    return k->columns ? k->in.lines : k->in.pixels;
}

// Pixels from tap `column` on that lie one behind the other, as the weights do: they are summed in one go.
static int pixels_together(const pn_window_f_t *k, int x0, int column) {
    int left = width(k) - column, inside = k->in.w - (x0 + column), bytes = k->zero ? 1 : (int)sizeof(float);
    bool together = !k->columns && k->in.step == k->cin * bytes;
    return !together ? 1 : left < inside ? left : inside;
}

void pn_float_conv(const pn_window_f_t *k, int x0, const float *bias, const float *weight, int cout, float *out) {
    int h = height(k), w = width(k), n;
    uint32_t row = (uint32_t)(h * w * k->cin);
    memcpy(out, bias, sizeof(float) * (size_t)cout);
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x += n) {
            const uint8_t *in = pixel(k, x0, y, x);
            const float *own = weight + (y * w + x) * k->cin;
            n = in == NULL ? 1 : pixels_together(k, x0, x);
            if (in != NULL && k->zero != NULL) {
                pn_float_dots8(k, (const int8_t *)in, own, (uint32_t)(n * k->cin), row, (uint32_t)cout, out);
            } else if (in != NULL) {
                pn_float_dots(floats(in), own, (uint32_t)(n * k->cin), row, (uint32_t)cout, out);
            }
        }
    }
}

void pn_float_depthwise(const pn_window_f_t *k, int x0, const float *bias, const float *weight, int group, int cexp,
    float *out) {
    int h = height(k), w = width(k);
    memcpy(out, bias, sizeof(float) * (size_t)group);
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++, weight += cexp) {
            const uint8_t *in = pixel(k, x0, y, x);
            for (int c = 0; in != NULL && c < group; c++) {
                out[c] += weight[c] * floats(in)[c];
            }
        }
    }
}

void pn_float_project(const float *d, const float *weight, int n, int cout, float *sums) {
    int o = 0;
    for (; o + 4 <= cout; o += 4) {
        const float *w = weight + o;
        float s0 = sums[o], s1 = sums[o + 1], s2 = sums[o + 2], s3 = sums[o + 3];
        for (int c = 0; c < n; c++, w += cout) {
            s0 += w[0] * d[c];
            s1 += w[1] * d[c];
            s2 += w[2] * d[c];
            s3 += w[3] * d[c];
        }
        sums[o] = s0;
        sums[o + 1] = s1;
        sums[o + 2] = s2;
        sums[o + 3] = s3;
    }
    for (; o < cout; o++) {
        for (int c = 0; c < n; c++) {
            sums[o] += weight[c * cout + o] * d[c];
        }
    }
}

void pn_float_add(const float *x, uint32_t n, float *v) {
    for (uint32_t i = 0; i < n; i++) {
        v[i] += x[i];
    }
}

void pn_float_relu(float most, uint32_t n, float *v) {
    for (uint32_t i = 0; i < n; i++) {
        v[i] = v[i] > 0 ? (v[i] < most ? v[i] : most) : 0;
    }
}

void pn_float_shortcut(const float *x, const float *bias, const float *weight, uint32_t cin, uint32_t cout, float *v) {
    for (uint32_t o = 0; o < cout; o++, weight += cin) {
        float s = bias[o];
        pn_float_dots(x, weight, cin, cin, 1, &s);
        v[o] += s;
    }
}

float pn_float_lowest(void) {
    uint32_t bits = 0xff800000; // minus infinity, for which C99 has no word without its library
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

void pn_float_pool(const pn_window_f_t *k, int x0, bool mean, float *out) {
    int h = height(k), w = width(k);
    for (int c = 0; c < k->cin; c++) {
        out[c] = mean ? 0 : pn_float_lowest();
    }
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++) {
            const uint8_t *in = pixel(k, x0, y, x);
            if (in != NULL && mean) {
                pn_float_sum(floats(in), 1, (uint32_t)k->cin, out);
            } else if (in != NULL) {
                pn_float_most(floats(in), 1, (uint32_t)k->cin, out);
            }
        }
    }
    if (mean) {
        pn_float_mean(out, (uint32_t)k->cin, (uint32_t)(h * w), out);
    }
}

void pn_float_most(const float *x, uint32_t pixels, uint32_t channels, float *most) {
    for (; pixels > 0; pixels--, x += channels) {
        for (uint32_t c = 0; c < channels; c++) {
            most[c] = x[c] > most[c] ? x[c] : most[c];
        }
    }
}

void pn_float_sum(const float *x, uint32_t pixels, uint32_t channels, float *sums) {
    for (; pixels > 0; pixels--, x += channels) {
        for (uint32_t c = 0; c < channels; c++) {
            sums[c] += x[c];
        }
    }
}

void pn_float_mean(const float *x, uint32_t channels, uint32_t n, float *out) {
    for (uint32_t c = 0; c < channels; c++) {
        out[c] = x[c] / (float)n;
    }
}

// What is no number counts as the least.
int32_t pn_float_steps(float logit) {
    const float most = 536870912.0f; // 2^29: differences fit 32 bits
    float n = logit * 0x1.715476p+15f; // 2^15 / ln 2
    n = n > -most ? (n < most ? n : most) : -most;
    return (int32_t)(n < 0 ? n - 0.5f : n + 0.5f);
}

#endif
