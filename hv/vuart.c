/* Registers: National Semiconductor PC16550D data sheet, section 8. */
#include "hv/vuart.h"

#include "lib/string.h"

enum { THR_RBR_DLL, IER_DLM, IIR_FCR, LCR, MCR, LSR, MSR, SCR };

#define LCR_DLAB        0x80u
#define IER_THR         0x02u
#define FCR_ENABLE      0x01u
#define IIR_NONE        0x01u
#define IIR_THR         0x02u
#define IIR_FIFO        0xc0u
#define LSR_EMPTY       0x60u /* holding register and shift register */
#define MCR_LOOP        0x10u
#define MSR_CTS_DSR_DCD 0xb0u

void vuart_reset(struct vuart *u)
{
	memset(u, 0, sizeof(*u));
	u->dll = 1; /* 115200 */
}

/* In loop-back the modem lines show what MCR drives: DTR, RTS, OUT1, OUT2 as DSR, CTS, RI, DCD. */
static u8 modem_status(const struct vuart *u)
{
	u8 m = u->mcr;

	if (!(m & MCR_LOOP))
		return MSR_CTS_DSR_DCD;
	return (u8)((m & 1) << 5 | (m & 2) << 3 | (m & 4) << 4 | (m & 8) << 4);
}

static u8 interrupt_id(struct vuart *u)
{
	u8 fifo = u->fcr & FCR_ENABLE ? IIR_FIFO : 0;

	if (!u->thr_irq || !(u->ier & IER_THR))
		return fifo | IIR_NONE;
	u->thr_irq = false; /* reading it is the acknowledgement */
	return fifo | IIR_THR;
}

u8 vuart_read(struct vuart *u, unsigned reg)
{
	bool dlab = u->lcr & LCR_DLAB;

	switch (reg) {
	case THR_RBR_DLL:
		return dlab ? u->dll : 0;
	case IER_DLM:
		return dlab ? u->dlm : u->ier;
	case IIR_FCR:
		return interrupt_id(u);
	case LCR:
		return u->lcr;
	case MCR:
		return u->mcr;
	case LSR:
		return LSR_EMPTY;
	case MSR:
		return modem_status(u);
	default:
		return u->scr;
	}
}

/* Carriage returns are dropped; what could upset a terminal becomes a question mark. */
static bool transmit(struct vuart *u, u8 c)
{
	u->thr_irq = true;
	if (u->mcr & MCR_LOOP)
		return false;
	if (c == '\r' || c == 0)
		return false;
	if (c != '\n')
		u->line[u->len++] = (char)((c >= ' ' && c < 0x7f) || c == '\t' ? c : '?');
	u->line[u->len] = 0;
	return c == '\n' || u->len == VUART_LINE_MAX;
}

bool vuart_write(struct vuart *u, unsigned reg, u8 value)
{
	bool dlab = u->lcr & LCR_DLAB;

	switch (reg) {
	case THR_RBR_DLL:
		if (!dlab)
			return transmit(u, value);
		u->dll = value;
		break;
	case IER_DLM:
		if (dlab)
			u->dlm = value;
		else
			u->ier = value & 0xf;
		break;
	case IIR_FCR:
		u->fcr = value;
		break;
	case LCR:
		u->lcr = value;
		break;
	case MCR:
		u->mcr = value & 0x1f;
		break;
	case SCR:
		u->scr = value;
		break;
	default: /* LSR and MSR are read-only */
		break;
	}
	return false;
}

void vuart_line_done(struct vuart *u)
{
	u->len = 0;
	u->line[0] = 0;
}

bool vuart_flush(struct vuart *u)
{
	return u->len != 0;
}
