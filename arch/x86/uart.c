#include "arch/x86/uart.h"

#include "arch/x86/insn.h"

#define REG_DATA    0u
#define REG_IER     1u
#define REG_FCR     2u /* write; the same port reads as IIR */
#define REG_LCR     3u
#define REG_MCR     4u
#define REG_LSR     5u
#define REG_SCRATCH 7u

#define LSR_DATA  0x01u
#define LSR_EMPTY 0x20u /* transmit holding register (or FIFO) */
#define LSR_IDLE  0x40u /* everything is on the wire */

/* Polls, at about a microsecond each on hardware; a byte at 115200 takes 87. */
#define WAIT_POLLS 200000u

static u8 reg_read(const struct uart *u, u16 reg)
{
	return in8((u16)(u->port + reg));
}

static void reg_write(const struct uart *u, u16 reg, u8 v)
{
	out8((u16)(u->port + reg), v);
}

static bool wait_for(const struct uart *u, u8 bits)
{
	for (u32 i = 0; i < WAIT_POLLS; i++) {
		if ((reg_read(u, REG_LSR) & bits) == bits)
			return true;
		cpu_pause();
	}
	return false;
}

void uart_init(struct uart *u, u16 port)
{
	*u = (struct uart){.port = port, .burst = 1};
	/* An empty port reads as ones; a UART keeps what its scratch register is told. */
	reg_write(u, REG_SCRATCH, 0x5a);
	if (reg_read(u, REG_SCRATCH) != 0x5a || reg_read(u, REG_LSR) == 0xff)
		return;
	reg_write(u, REG_IER, 0);
	reg_write(u, REG_LCR, 0x80); /* divisor: 115200 / 1 */
	reg_write(u, REG_DATA, 1);
	reg_write(u, REG_IER, 0);
	reg_write(u, REG_LCR, 0x03); /* 8N1 */
	reg_write(u, REG_FCR, 0x07); /* FIFO on and empty */
	reg_write(u, REG_MCR, 0x03);
	if ((reg_read(u, REG_FCR) & 0xc0) == 0xc0)
		u->burst = 16;
	u->present = true;
}

int uart_read(struct uart *u)
{
	u8 status;

	if (!u->present)
		return -1;
	status = reg_read(u, REG_LSR);
	/* An absent port reads as ones. */
	return status != 0xff && (status & LSR_DATA) ? reg_read(u, REG_DATA) : -1;
}

void uart_write(struct uart *u, const char *text, size_t len)
{
	size_t i = 0;

	while (i < len && u->present) {
		/* Stuck (no room for many milliseconds): give it up rather than the machine. */
		u->present = wait_for(u, LSR_EMPTY);
		for (unsigned n = 0; n < u->burst && i < len; n++)
			reg_write(u, REG_DATA, (u8)text[i++]);
	}
}

void uart_drain(struct uart *u)
{
	if (u->present)
		(void)wait_for(u, LSR_EMPTY | LSR_IDLE);
}
