// Both of the board's timers, which count down. One is the clock (board.c), the other interrupts (hardtimer.c).
#ifndef CMSDK_TIMER_H
#define CMSDK_TIMER_H

#include <stdint.h>

typedef struct {
    volatile uint32_t ctrl;
    volatile uint32_t value;
    volatile uint32_t reload;
    volatile uint32_t intclear;
} cmsdk_timer_t;

#define TIMER0 ((cmsdk_timer_t *)0x40000000)
#define TIMER1 ((cmsdk_timer_t *)0x40001000)
#define TIMER_CTRL_EN (1 << 0)
#define TIMER_CTRL_INT_EN (1 << 3)
#define TIMER_TICKS_PER_US (25)

#endif
