/*
 * ports: reads and writes every I/O port in every width, except the exit port and the UART's data.
 * A read where no device is gives all ones; nothing may happen otherwise. Needs Varve.
 *
 *   rounds=N      how often (default 1)
 *   string=0      leaves out INS and OUTS
 */
#include "guest-tests/lib/guest.h"

#define PORT_COUNT 0x10000u
#define UART       0x3f8u
#define UART_END   0x400u
#define EXIT       0xf4u
#define EXIT_END   0xf8u

static bool overlaps(u32 port, u32 width, u32 start, u32 end)
{
	return port < end && port + width > start;
}

static u32 read_port(u16 port, u32 width)
{
	return width == 1 ? inb(port) : width == 2 ? inw(port) : inl(port);
}

static void write_port(u16 port, u32 width, u32 value)
{
	if (width == 1)
		outb(port, (u8)value);
	else if (width == 2)
		outw(port, (u16)value);
	else
		outl(port, value);
}

static void try_port(u32 port, u32 width, u32 value)
{
	u32 ones = width == 4 ? UINT32_MAX : (1u << 8 * width) - 1, found;

	if (overlaps(port, width, EXIT, EXIT_END) || overlaps(port, width, UART, UART + 1))
		return;
	found = read_port((u16)port, width);
	if (!overlaps(port, width, UART, UART_END)) {
		VERDICT_CHECK(found == ones, "port 0x%x, %u bytes: read 0x%x instead of 0x%x", port,
		              width, found, ones);
	}
	write_port((u16)port, width, value);
}

/* An unused port and buffers that start just before a page ends. */
static void try_strings(void)
{
	u8 *pages = mem_alloc(2, 1), *buffer = pages + PAGE_SIZE - 24;
	void *to = buffer;
	const void *from = buffer;
	u64 n = 64;

	__asm__ volatile("rep insb" : "+D"(to), "+c"(n) : "d"(0x80) : "memory");
	VERDICT_CHECK(to == buffer + 64 && !n, "INS moved RDI by %ld and left RCX at %lu",
	              (long)((u8 *)to - buffer), n);
	for (unsigned i = 0; i < 64; i++)
		VERDICT_CHECK(buffer[i] == 0xff, "INS read 0x%x instead of 0xff", buffer[i]);
	VERDICT_CHECK(buffer[-1] == 0 && buffer[64] == 0, "INS wrote beside its buffer");
	n = 16;
	__asm__ volatile("rep outsl" : "+S"(from), "+c"(n) : "d"(0x80) : "memory");
	VERDICT_CHECK(from == buffer + 64 && !n, "OUTS moved RSI by %ld and left RCX at %lu",
	              (long)((const u8 *)from - buffer), n);
}

void guest_main(void)
{
	u64 rounds = cmdline_u64("rounds", 1);
	struct rng rng = {1};

	VERDICT_CHECK(time_is_varve(), "this guest needs Varve");
	cpu_cli();
	for (u64 round = 0; round < rounds; round++)
		for (u32 width = 1; width <= 4; width *= 2)
			for (u32 port = 0; port + width <= PORT_COUNT; port++)
				try_port(port, width, (u32)rng_next(&rng));
	console_init(); /* its registers were written to */
	if (cmdline_u64("string", 1))
		try_strings();
	console_printf("ports: all read and written, %lu rounds\n", rounds);
}
