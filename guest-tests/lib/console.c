#include "guest-tests/lib/console.h"

#include "guest-tests/lib/cpu.h"

#define UART          0x3f8
#define UART_IER      (UART + 1)
#define UART_FCR      (UART + 2)
#define UART_LCR      (UART + 3)
#define UART_MCR      (UART + 4)
#define UART_LSR      (UART + 5)
#define LSR_THRE      0x20
#define LSR_TEMT      0x40
#define UART_PATIENCE 1000000 /* polls, after which a byte is sent regardless */

static u32 console_lock;

struct spec {
	unsigned width;
	bool left, zero, is_long;
};

void console_init(void)
{
	outb(UART_IER, 0);
	outb(UART_LCR, 0x80);
	outb(UART, 1);
	outb(UART_IER, 0);
	outb(UART_LCR, 3);
	outb(UART_FCR, 7);
	outb(UART_MCR, 3);
}

static void uart_wait(u8 bits)
{
	for (unsigned i = 0; i < UART_PATIENCE && (inb(UART_LSR) & bits) != bits; i++)
		cpu_pause();
}

static void putc(char c)
{
	uart_wait(LSR_THRE);
	outb(UART, (u8)c);
}

static void pad(char c, unsigned have, unsigned want)
{
	for (; have < want; have++)
		putc(c);
}

static void put_text(const char *s, const struct spec *spec)
{
	unsigned len = 0;

	while (s[len])
		len++;
	if (!spec->left)
		pad(' ', len, spec->width);
	for (unsigned i = 0; i < len; i++)
		putc(s[i]);
	if (spec->left)
		pad(' ', len, spec->width);
}

static void put_number(u64 value, unsigned base, bool negative, bool upper, const struct spec *spec)
{
	const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
	char text[24];
	unsigned pos = sizeof(text);

	text[--pos] = 0;
	do {
		text[--pos] = digits[value % base];
		value /= base;
	} while (value);
	if (spec->zero && !spec->left) {
		if (negative)
			putc('-');
		pad('0', (unsigned)sizeof(text) - 1 - pos + negative, spec->width);
		put_text(text + pos, &(struct spec){0});
		return;
	}
	if (negative)
		text[--pos] = '-';
	put_text(text + pos, spec);
}

static const char *parse_spec(const char *fmt, struct spec *spec)
{
	*spec = (struct spec){0};
	for (; *fmt == '-' || *fmt == '0'; fmt++) {
		spec->left |= *fmt == '-';
		spec->zero |= *fmt == '0';
	}
	for (; *fmt >= '0' && *fmt <= '9'; fmt++)
		spec->width = spec->width * 10 + (unsigned)(*fmt - '0');
	for (; *fmt == 'l' || *fmt == 'z'; fmt++)
		spec->is_long = true;
	return fmt;
}

static void put_signed(long value, const struct spec *spec)
{
	put_number(value < 0 ? 0 - (u64)value : (u64)value, 10, value < 0, false, spec);
}

static void vprint(const char *fmt, va_list ap)
{
	struct spec spec;
	u64 value;

	for (; *fmt; fmt++) {
		if (*fmt != '%') {
			putc(*fmt);
			continue;
		}
		fmt = parse_spec(fmt + 1, &spec);
		switch (*fmt) {
		case 'd':
		case 'i':
			put_signed(spec.is_long ? va_arg(ap, long) : va_arg(ap, int), &spec);
			break;
		case 'u':
		case 'x':
		case 'X':
			value = spec.is_long ? va_arg(ap, u64) : va_arg(ap, u32);
			put_number(value, *fmt == 'u' ? 10 : 16, false, *fmt == 'X', &spec);
			break;
		case 'p':
			put_number((u64)va_arg(ap, void *), 16, false, false, &spec);
			break;
		case 's':
			put_text(va_arg(ap, const char *), &spec);
			break;
		case 'c':
			putc((char)va_arg(ap, int));
			break;
		default:
			putc(*fmt);
			break;
		}
	}
}

/*
 * Interrupts stay off while the lock is held, so that no handler of the same CPU waits for it.
 * Returns the flags to restore. Patience ends, because a trap may have struck the holder.
 */
static u64 lock(void)
{
	u64 flags = cpu_flags();

	cpu_cli();
	for (u64 i = 0; i < 100000000 && __atomic_exchange_n(&console_lock, 1, __ATOMIC_ACQUIRE);
	     i++)
		cpu_pause();
	return flags;
}

static void unlock(u64 flags)
{
	__atomic_store_n(&console_lock, 0, __ATOMIC_RELEASE);
	if (flags & 0x200)
		cpu_sti();
}

void console_printf(const char *fmt, ...)
{
	u64 flags = lock();
	va_list ap;

	va_start(ap, fmt);
	vprint(fmt, ap);
	va_end(ap);
	unlock(flags);
}

void console_last_line(const char *prefix, const char *fmt, va_list ap)
{
	(void)lock();
	put_text(prefix, &(struct spec){0});
	vprint(fmt, ap);
	putc('\n');
	uart_wait(LSR_TEMT);
}
