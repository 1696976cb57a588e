#include "engine/kernels/pn_round.h"

// A factor for each bit of the fraction.
uint64_t pn_exp2_neg(uint64_t t) {
    // clang-format off
    static const uint32_t factor[16] = {
        759250125, 902905651, 984625594, 1028218693, 1050733751, 1062175491, 1067942999, 1070838486,
        1072289173, 1073015252, 1073378477, 1073560135, 1073650976, 1073696399, 1073719111, 1073730468,
    };
    // clang-format on
    uint64_t e = 1u << 30;
    for (int b = 0; b < 16; b++) {
        if (t >> (15 - b) & 1) {
            e = (e * factor[b] + (1u << 29)) >> 30;
        }
    }
    return t >> 16 > 30 ? 0 : e >> (t >> 16);
}

uint32_t pn_sigmoid(int32_t d, uint32_t mult) {
    uint64_t e = pn_exp2_neg((uint64_t)(d < 0 ? -d : d) * mult >> 8), one = 1u << 30, sum = one + e;
    return (uint32_t)((65536 * (d < 0 ? e : one) + sum / 2) / sum);
}
