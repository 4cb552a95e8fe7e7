#include "guest-tests/paging/trip.h"

#include "guest-tests/lib/cpu.h"
#include "guest-tests/lib/mem.h"
#include "guest-tests/lib/string.h"
#include "guest-tests/lib/trap.h"

#define STUB_BYTES  16
#define STACK_PAGES 2
#define GATE_KERNEL 0x8eull
#define GATE_USER   0xeeull /* also INT at CPL 3 */
#define TSS_LIMIT   103ull

void trip_run64(struct trip *trip);
void trip_run32(struct trip *trip);

extern char trip_faults64[], trip_done64[], trip_shot64[], trip_ignore64[];
extern char trip_faults32[], trip_done32[], trip_shot32[], trip_ignore32[];

static u64 idt64[256][2], idt32[256];

static void set_gates(unsigned vector, const char *to64, const char *to32, u64 type)
{
	u64 a = (u64)to64, b = (u64)to32;

	idt64[vector][0] = (a & 0xffff) | TRIP_CODE64 << 16 | type << 40 | (a >> 16 & 0xffff) << 48;
	idt64[vector][1] = a >> 32;
	idt32[vector] = (b & 0xffff) | TRIP_CODE32 << 16 | type << 40 | (b >> 16 & 0xffff) << 48;
}

void trip_init(void)
{
	for (unsigned v = 0; v < 32; v++)
		set_gates(v, trip_faults64 + v * STUB_BYTES, trip_faults32 + v * STUB_BYTES,
		          GATE_KERNEL);
	set_gates(TRIP_DONE_VECTOR, trip_done64, trip_done32, GATE_USER);
	set_gates(TRIP_SHOT_VECTOR, trip_shot64, trip_shot32, GATE_KERNEL);
	set_gates(TRAP_VECTOR_TIMER, trip_ignore64, trip_ignore32, GATE_KERNEL);
	set_gates(TRAP_VECTOR_WAKE, trip_ignore64, trip_ignore32, GATE_KERNEL);
}

static u64 tss_descriptor(const u32 *tss)
{
	u64 base = (u64)tss;

	return TSS_LIMIT | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
}

void trip_init_cpu(struct trip *trip)
{
	memset(trip, 0, sizeof(*trip));
	trip->stack = (u64)mem_alloc(STACK_PAGES, 1) + STACK_PAGES * PAGE_SIZE;
	trip->flags = 2;
	trip->gdt[TRIP_CODE64 / 8] = 0x00af9a000000ffff;
	trip->gdt[TRIP_DATA / 8] = 0x00cf92000000ffff;
	trip->gdt[TRIP_CODE32 / 8] = 0x00cf9a000000ffff;
	trip->gdt[TRIP_USER64 / 8] = 0x00affa000000ffff;
	trip->gdt[TRIP_UDATA / 8] = 0x00cff2000000ffff;
	trip->gdt[TRIP_USER32 / 8] = 0x00cffa000000ffff;
	trip->gdtr.limit = sizeof(trip->gdt) - 1;
	trip->gdtr.base = (u64)trip->gdt;
	trip->tss64[1] = (u32)trip->stack; /* RSP0 */
	trip->tss64[25] = sizeof(trip->tss64) << 16;
	trip->tss32[1] = (u32)trip->stack; /* ESP0 */
	trip->tss32[2] = TRIP_DATA;
	trip->tss32[25] = sizeof(trip->tss32) << 16;
}

/* The lib's GDT, IDT and TSS come back behind the trip. */
void trip_run(struct trip *trip, bool long_mode)
{
	trip->gdt[TRIP_TSS64 / 8] = tss_descriptor(trip->tss64);
	trip->gdt[TRIP_TSS64 / 8 + 1] = (u64)trip->tss64 >> 32;
	trip->gdt[TRIP_TSS32 / 8] = tss_descriptor(trip->tss32);
	trip->idtr.limit = long_mode ? sizeof(idt64) - 1 : sizeof(idt32) - 1;
	trip->idtr.base = long_mode ? (u64)idt64 : (u64)idt32;
	cpu_cli();
	if (long_mode)
		trip_run64(trip);
	else
		trip_run32(trip);
	trap_init_cpu();
}
