/*
 * ports: reads and writes every I/O port in every width, except the exit port and the UART's data.
 * A read where no device is gives all ones; nothing may happen otherwise. Needs Varve.
 *
 *   rounds=N      how often (default 1)
 *   step=N        from 0x400 on, every Nth port only (default 1)
 *   string=0      leaves out INS and OUTS
 */
#include "guest-tests/lib/guest.h"

#define PORT_COUNT 0x10000u
#define UART       0x3f8u
#define UART_END   0x400u
#define EXIT       0xf4u
#define EXIT_END   0xf8u
#define FREE_PORT  0x9990

#define STRING_BYTES 64

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

/* Vector of the exception, or -1. */
static int string_in(u8 **to, u64 *n)
{
	cpu_self()->trap_caught = 0;
	__asm__ volatile("1: rep insb\n2:\n" TRAP_FIXUP("1b", "2b")
	                 : "+D"(*to), "+c"(*n)
	                 : "d"(FREE_PORT)
	                 : "memory");
	return (int)cpu_self()->trap_caught - 1;
}

static int string_out(const u8 **from, u64 *n)
{
	cpu_self()->trap_caught = 0;
	__asm__ volatile("1: rep outsl\n2:\n" TRAP_FIXUP("1b", "2b")
	                 : "+S"(*from), "+c"(*n)
	                 : "d"(FREE_PORT)
	                 : "memory");
	return (int)cpu_self()->trap_caught - 1;
}

/* A machine may refuse them with #GP, then nothing has moved; else they must work. */
static void check_string(const char *name, int vector, long moved, u64 left, u64 n)
{
	VERDICT_CHECK(vector < 0 || vector == TRAP_GP, "%s raises exception %d", name, vector);
	VERDICT_CHECK(vector < 0 ? moved == STRING_BYTES && !left : !moved && left == n,
	              "%s, exception %d: moved %ld bytes, RCX is %lu", name, vector, moved, left);
}

/* The buffer lies across the end of a page. */
static void try_strings(void)
{
	u8 *pages = mem_alloc(2, 1), *buffer = pages + PAGE_SIZE - 24, *to = buffer;
	const u8 *from = buffer;
	u64 n = STRING_BYTES;
	int vector = string_in(&to, &n);
	u8 want = vector < 0 ? 0xff : 0;

	check_string("INS", vector, to - buffer, n, STRING_BYTES);
	for (unsigned i = 0; i < STRING_BYTES; i++)
		VERDICT_CHECK(buffer[i] == want, "INS read 0x%x instead of 0x%x", buffer[i], want);
	VERDICT_CHECK(buffer[-1] == 0 && buffer[STRING_BYTES] == 0, "INS wrote beside its buffer");
	n = STRING_BYTES / 4;
	vector = string_out(&from, &n);
	check_string("OUTS", vector, from - buffer, n, STRING_BYTES / 4);
	console_printf("ports: INS and OUTS %s\n", vector < 0 ? "work" : "are refused");
}

void guest_main(void)
{
	u64 rounds = cmdline_u64("rounds", 1);
	u32 step = (u32)cmdline_u64("step", 1);
	struct rng rng = {1};

	VERDICT_CHECK(step, "argument step= is 0");
	VERDICT_CHECK(time_is_varve(), "this guest needs Varve");
	cpu_cli();
	for (u64 round = 0; round < rounds; round++)
		for (u32 width = 1; width <= 4; width *= 2)
			for (u32 port = 0; port + width <= PORT_COUNT;
			     port += port < UART_END ? 1 : step)
				try_port(port, width, (u32)rng_next(&rng));
	console_init(); /* its registers were written to */
	if (cmdline_u64("string", 1))
		try_strings();
	console_printf("ports: all read and written, %lu rounds\n", rounds);
}
