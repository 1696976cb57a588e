// Start-up, UART and clock of the emulated board: what a port for real hardware has and QEMU's lacks.

#include <stdint.h>

#include "py/mphal.h"
#include "py/runtime.h"
#include "py/stream.h"
#include "lib/oofatfs/ff.h"
#include "shared/runtime/pyexec.h"
#include "uart.h"

#include "cmsdk_timer.h"

#define CPACR (*(volatile uint32_t *)0xE000ED88)
#define NVIC_ISER0 (*(volatile uint32_t *)0xE000E100)
#define IRQ_UART0_RX (0)
#define IRQ_TIMER0 (8)
#define IRQ_TIMER1 (9)

typedef struct _cmsdk_uart_t {
    volatile uint32_t data;
    volatile uint32_t state;
    volatile uint32_t ctrl;
    volatile uint32_t intstatus;
    volatile uint32_t bauddiv;
} cmsdk_uart_t;

#define UART0 ((cmsdk_uart_t *)0x40004000)
#define UART_STATE_TXFULL (1 << 0)
#define UART_STATE_RXFULL (1 << 1)
#define UART_CTRL_TX_EN (1 << 0)
#define UART_CTRL_RX_EN (1 << 1)
#define UART_CTRL_RX_INT_EN (1 << 3)
#define UART_INT_RX (1 << 1)

static uint8_t rx_ring[4096];
static volatile uint32_t rx_head; // written by the interrupt only; both run freely and are masked when used
static volatile uint32_t rx_tail;
static volatile uint32_t clock_wraps;

// ---------------------------------------------------------------------------------------------------------------
// Start-up

extern uint32_t _estack;
void Reset_Handler(void);
void NMI_Handler(void);
void HardFault_Handler(void);
void MemManage_Handler(void);
void BusFault_Handler(void);
void UsageFault_Handler(void);
void SVC_Handler(void);
void DebugMon_Handler(void);
void PendSV_Handler(void);
void SysTick_Handler(void);

// Switches the FPU on before any compiled code runs: with the hard-float ABI even a plain function may touch it.
__attribute__((naked, noreturn)) static void board_reset(void) {
    // clang-format off
    __asm volatile (
        "ldr r0, =0xE000ED88\n"
        "ldr r1, [r0]\n"
        "orr r1, r1, #(0xf << 20)\n"
        "str r1, [r0]\n"
        "dsb\n"
        "isb\n"
        "b Reset_Handler\n"
        );
    // clang-format on
}

// At the end of mp_init.
void board_boot(void) {
    pyexec_frozen_module("_boot.py", false);
}

static void uart0_rx_handler(void);
static void timer1_handler(void);
void hardtimer_handler(void);

// Replaces the port's table, which ends before the first interrupt of a device.
// clang-format off
__attribute__((section(".board_vectors"), used)) static const void *const board_vectors[] = {
    &_estack, board_reset, NMI_Handler, HardFault_Handler,
    MemManage_Handler, BusFault_Handler, UsageFault_Handler, NULL,
    NULL, NULL, NULL, SVC_Handler,
    DebugMon_Handler, NULL, PendSV_Handler, SysTick_Handler,
    [16 + IRQ_UART0_RX] = uart0_rx_handler,
    [16 + IRQ_TIMER0] = hardtimer_handler,
    [16 + IRQ_TIMER1] = timer1_handler,
};
// clang-format on

// ---------------------------------------------------------------------------------------------------------------
// UART

// The port calls this first of all, so the clock starts here as well.
void uart_init(void) {
    UART0->bauddiv = 16;
    UART0->ctrl = UART_CTRL_TX_EN | UART_CTRL_RX_EN | UART_CTRL_RX_INT_EN;
    TIMER1->reload = 0xffffffff;
    TIMER1->value = 0xffffffff;
    TIMER1->ctrl = TIMER_CTRL_EN | TIMER_CTRL_INT_EN;
    NVIC_ISER0 = 1 << IRQ_UART0_RX | 1 << IRQ_TIMER0 | 1 << IRQ_TIMER1;
}

static bool rx_full(void) {
    return rx_head - rx_tail == sizeof(rx_ring);
}

static void uart0_rx_handler(void) {
    UART0->intstatus = UART_INT_RX;
    if (rx_full()) {
        // Leave the byte where it is: QEMU sends no more until it is taken, so nothing is lost.
        UART0->ctrl &= ~UART_CTRL_RX_INT_EN;
        return;
    }
    int c = UART0->data & 0xff;
    if (c == mp_interrupt_char) {
        mp_sched_keyboard_interrupt();
    } else {
        rx_ring[rx_head % sizeof(rx_ring)] = c;
        rx_head++;
    }
}

int uart_rx_any(void) {
    return rx_head != rx_tail;
}

int uart_rx_chr(void) {
    if (!uart_rx_any()) {
        return UART_RX_NO_CHAR;
    }
    int c = rx_ring[rx_tail % sizeof(rx_ring)];
    rx_tail++;
    if (!(UART0->ctrl & UART_CTRL_RX_INT_EN)) {
        UART0->ctrl |= UART_CTRL_RX_INT_EN;
        __asm volatile ("cpsid i");
        if (UART0->state & UART_STATE_RXFULL && !rx_full()) {
            uart0_rx_handler(); // its interrupt came while it was disabled
        }
        __asm volatile ("cpsie i");
    }
    return c;
}

void uart_tx_strn(const char *buf, size_t len) {
    for (size_t i = 0; i < len; ++i) {
        while (UART0->state & UART_STATE_TXFULL) {
        }
        UART0->data = buf[i];
    }
}

uintptr_t mp_hal_stdio_poll(uintptr_t poll_flags) {
    uintptr_t ret = poll_flags & MP_STREAM_POLL_WR;
    if (poll_flags & MP_STREAM_POLL_RD && uart_rx_any()) {
        ret |= MP_STREAM_POLL_RD;
    }
    return ret;
}

int mp_hal_stdin_rx_chr(void) {
    for (;;) {
        mp_handle_pending(true);
        // With interrupts masked none can slip in between the look and the sleep; a masked one still ends the sleep.
        __asm volatile ("cpsid i");
        int c = uart_rx_chr();
        if (c == UART_RX_NO_CHAR) {
            __asm volatile ("wfi");
        }
        __asm volatile ("cpsie i");
        if (c != UART_RX_NO_CHAR) {
            return c;
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Clock: 25 MHz in virtual time. Under `-icount shift=0` a microsecond is therefore 1000 instructions.

static void timer1_handler(void) {
    TIMER1->intclear = 1;
    clock_wraps++;
}

static uint64_t clock_ticks(void) {
    uint32_t wraps, low;
    do {
        wraps = clock_wraps;
        low = ~TIMER1->value;
    } while (wraps != clock_wraps);
    return (uint64_t)wraps << 32 | low;
}

mp_uint_t mp_hal_ticks_cpu(void) {
    return clock_ticks();
}

mp_uint_t mp_hal_ticks_us(void) {
    return clock_ticks() / TIMER_TICKS_PER_US;
}

mp_uint_t mp_hal_ticks_ms(void) {
    return clock_ticks() / (1000 * TIMER_TICKS_PER_US);
}

void mp_hal_delay_us(mp_uint_t us) {
    mp_uint_t start = mp_hal_ticks_us();
    while (mp_hal_ticks_us() - start < us) {
    }
}

void mp_hal_delay_ms(mp_uint_t ms) {
    mp_uint_t start = mp_hal_ticks_ms();
    do {
        mp_event_handle_nowait();
    } while (mp_hal_ticks_ms() - start < ms);
}

// File systems stamp files with the time, which this board does not know.
uint64_t mp_hal_time_ns(void) {
    return 0;
}

DWORD get_fattime(void) {
    return 1 << 21 | 1 << 16; // 1 January 1981
}
