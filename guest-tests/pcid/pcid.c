/*
 * pcid: two address spaces with a PCID each, switched without forgetting, whose entries change while the other one is
 * there; INVPCID of each type; and each case in which CR0, CR3, CR4 or INVPCID must refuse. Where the machine offers no
 * PCIDs: that it then has none.
 */
#include "guest-tests/lib/guest.h"

#define CR0_PG    (1ull << 31)
#define CR4_PCIDE (1ull << 17)
#define CR3_KEEP  (1ull << 63)

#define SLOT    300ull /* of the top table: the spaces' own */
#define AT      (0xffff000000000000ull | SLOT << 39)
#define MISSING (AT + 0x1000)
#define PCIDS   2u

struct desc {
	u64 pcid, address;
} __attribute__((aligned(16)));

struct question {
	u64 value, other;
};

static u64 *top[PCIDS], *leaf[PCIDS], old_cr3;

static u64 *table(void)
{
	return mem_alloc(1, 1);
}

/* A page that holds one number. */
static u64 page_with(u64 number)
{
	u64 *page = mem_alloc(1, 1);

	*page = number;
	return (u64)page;
}

static void make_space(unsigned i, u64 page)
{
	u64 *level3 = table(), *level2 = table();

	top[i] = table();
	leaf[i] = table();
	memcpy(top[i], (void *)(old_cr3 & ~0xfffull), 4096);
	top[i][SLOT] = (u64)level3 | 3;
	level3[0] = (u64)level2 | 3;
	level2[0] = (u64)leaf[i] | 3;
	leaf[i][0] = page | 3;
}

static u64 root(unsigned i)
{
	return (u64)top[i] | (i + 1);
}

static void enter(unsigned i)
{
	cr3_write(root(i) | CR3_KEEP);
	VERDICT_CHECK(cr3_read() == root(i), "CR3 reads 0x%lx, it was loaded with 0x%lx and bit 63",
	              cr3_read(), root(i));
}

static u64 look(void)
{
	return *(volatile u64 *)AT;
}

static void do_invpcid(u64 type, const struct desc *desc)
{
	__asm__ volatile("invpcid %1, %0" : : "r"(type), "m"(*desc) : "memory");
}

static void invpcid(u64 type, u64 pcid, u64 address)
{
	const struct desc desc = {pcid, address};

	do_invpcid(type, &desc);
}

/* --- what must be refused --- */

static void try_cr0(void *arg)
{
	cr0_write(((struct question *)arg)->value);
}

static void try_cr3(void *arg)
{
	cr3_write(((struct question *)arg)->value);
}

static void try_cr4(void *arg)
{
	cr4_write(((struct question *)arg)->value);
}

static u64 try_type;
static void try_invpcid(void *arg)
{
	do_invpcid(try_type, arg);
}

static void refused(void (*what)(void *arg), u64 value, int vector, const char *why)
{
	struct question q = {.value = value};
	int got = trap_try(what, &q);

	VERDICT_CHECK(got == vector, "%s: exception %d, %d expected", why, got, vector);
}

static void answers(u64 type, u64 pcid, u64 address, int vector, const char *why)
{
	struct desc desc = {pcid, address};
	int got;

	try_type = type;
	got = trap_try(try_invpcid, &desc);
	VERDICT_CHECK(got == vector, "INVPCID, %s: exception %d, %d expected", why, got, vector);
}

static void check_operands(bool pcide)
{
	const u64 bad = 1ull << 47;

	answers(4, 0, 0, TRAP_GP, "type 4");
	for (u64 type = 0; type < 4; type++) {
		answers(type, 0, AT, -1, "good");
		answers(type, 1ull << 12, 0, TRAP_GP, "bit 12 of the descriptor");
		answers(type, 1ull << 63, 0, TRAP_GP, "bit 63 of the descriptor");
		answers(type, 5, 0, pcide || type > 1 ? -1 : TRAP_GP, "PCID 5");
		answers(type, 0, bad, type ? -1 : TRAP_GP, "not canonical");
	}
	try_type = 2;
	VERDICT_CHECK(trap_try(try_invpcid, (void *)MISSING) == TRAP_PF,
	              "INVPCID, operand not mapped: no page fault");
	VERDICT_CHECK(cr2_read() == MISSING, "INVPCID, operand not mapped: CR2 is 0x%lx",
	              cr2_read());
	VERDICT_CHECK(trap_try(try_invpcid, (void *)bad) == TRAP_GP,
	              "INVPCID, operand not canonical: no #GP");
}

static void check_registers(void)
{
	refused(try_cr3, old_cr3 | CR3_KEEP, TRAP_GP, "bit 63 of CR3 without PCIDE");
	cr3_write(old_cr3 | 8);
	refused(try_cr4, cr4_read() | CR4_PCIDE, TRAP_GP, "PCIDE while CR3 has a PCID");
	cr3_write(old_cr3);
	cr4_write(cr4_read() | CR4_PCIDE);
	VERDICT_CHECK(cr4_read() & CR4_PCIDE, "PCIDE does not stay");
	refused(try_cr0, cr0_read() & ~CR0_PG, TRAP_GP, "no paging, with PCIDE");
	refused(try_cr3, old_cr3 | 1ull << 62, TRAP_GP, "bit 62 of CR3");
}

/* --- what must be forgotten --- */

/* While space 0 is there, the page of space 1 becomes another; afterwards it must be. */
static void change(u64 type, u64 pcid, u64 number)
{
	enter(1);
	(void)look();
	enter(0);
	leaf[1][0] = page_with(number) | 3;
	invpcid(type, pcid, AT);
	enter(1);
	VERDICT_CHECK(look() == number, "after INVPCID of type %lu: %lu, %lu expected", type,
	              look(), number);
	enter(0);
	VERDICT_CHECK(look() == 1000, "the other space has %lu now", look());
}

/* The space that is there. */
static void change_own(u64 type, u64 number)
{
	enter(1);
	(void)look();
	leaf[1][0] = page_with(number) | 3;
	invpcid(type, 2, AT);
	VERDICT_CHECK(look() == number, "after its own INVPCID of type %lu: %lu, %lu expected",
	              type, look(), number);
}

static void rounds(u64 n)
{
	for (u64 i = 0; i < n; i++) {
		change(0, 2, 2000 + 4 * i);
		change(1, 2, 2001 + 4 * i);
		change(2, 0, 2002 + 4 * i);
		change(3, 0, 2003 + 4 * i);
	}
	for (u64 type = 0; type < 3; type++)
		for (u64 i = 0; i < 10; i++)
			change_own(type, 10000 + 10 * type + i);
	/* by INVLPG; and a load without bit 63 */
	enter(1);
	leaf[1][0] = page_with(7) | 3;
	__asm__ volatile("invlpg (%0)" : : "r"(AT) : "memory");
	VERDICT_CHECK(look() == 7, "after INVLPG: %lu", look());
	enter(0);
	leaf[1][0] = page_with(8) | 3;
	cr3_write(root(1));
	VERDICT_CHECK(look() == 8, "after a load of CR3: %lu", look());
}

static void not_offered(void)
{
	answers(2, 0, 0, TRAP_UD, "not offered");
	refused(try_cr4, cr4_read() | CR4_PCIDE, TRAP_GP, "PCIDE, not offered");
	console_printf("pcid: not offered\n");
}

void guest_main(void)
{
	bool pcid = cpuid(1, 0).ecx >> 17 & 1, invpcid_there = cpuid(7, 0).ebx >> 10 & 1;

	VERDICT_CHECK(pcid == invpcid_there, "PCID %u, INVPCID %u", pcid, invpcid_there);
	if (!pcid) {
		not_offered();
		return;
	}
	old_cr3 = cr3_read();
	make_space(0, page_with(1000));
	make_space(1, page_with(2000));
	cr3_write((u64)top[0]);
	old_cr3 = (u64)top[0];
	check_operands(false);
	check_registers();
	check_operands(true);
	rounds(cmdline_u64("rounds", 50));
	cr3_write(old_cr3);
	cr4_write(cr4_read() & ~CR4_PCIDE);
	refused(try_cr3, old_cr3 | CR3_KEEP, TRAP_GP, "bit 63 of CR3, PCIDE gone");
	console_printf("pcid: offered, and as it should be\n");
}
