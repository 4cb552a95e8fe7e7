/*
 * The 16550 that a guest sees at 0x3f8: what it transmits is gathered into lines, nothing is ever
 * received. Pure; the caller serializes (one of a VM's vCPUs at a time).
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

#define VUART_PORT     0x3f8u
#define VUART_PORTS    8u
#define VUART_LINE_MAX 200u /* longer lines are split */

struct vuart {
	u8 ier, lcr, mcr, scr, fcr;
	u8 dll, dlm;
	bool thr_irq; /* "transmitter empty" not yet reported by IIR */
	u32 len;
	char line[VUART_LINE_MAX + 1];
};

void vuart_reset(struct vuart *u);
/* reg: 0 .. 7. */
u8 vuart_read(struct vuart *u, unsigned reg);
/* True when u->line (terminated) is complete: the caller shows it and calls vuart_line_done(). */
bool vuart_write(struct vuart *u, unsigned reg, u8 value) must_check;
void vuart_line_done(struct vuart *u);
/* At the end of a VM: is there an unfinished line to be shown? Terminates it. */
bool vuart_flush(struct vuart *u) must_check;
