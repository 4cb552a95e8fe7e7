/* A 16550 at an I/O port, polled. Every wait is bounded; an absent one swallows what is written. */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

#define UART_COM1 0x3f8u
#define UART_COM2 0x2f8u

struct uart {
	u16 port;
	bool present;
	u8 burst; /* bytes that may be written when the transmitter says it is empty */
};

/* 115200 8N1, FIFO on, interrupts off. */
void uart_init(struct uart *u, u16 port);
/* A byte that came in, or -1. */
int uart_read(struct uart *u);
void uart_write(struct uart *u, const char *text, size_t len);
/* Waits until everything is on the wire, bounded. */
void uart_drain(struct uart *u);
