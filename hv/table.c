#include "arch/x86/console.h"
#include "hv/stats.h"
#include "hv/vm.h"
#include "lib/fmt.h"
#include "lib/string.h"

#define ROWS_PER_HEADER 20u

typedef unsigned long long ull;

static unsigned rows;

static void header(void)
{
	static const char text[] =
	        "time  vm        state    resident     zero   pooled  evicted refaulted | "
	        "aging    entries      us |  faults p50us p99us | generations "
	        "seq:age:clean/dirty\n";

	if (rows++ % ROWS_PER_HEADER == 0)
		console_write(text, sizeof(text) - 1);
}

void table_row(const struct stats_vm *s)
{
	char text[256];
	size_t len;

	header();
	fmt_snprintf(
	        text, sizeof(text),
	        "%3llus  %-9.9s %-7s %9llu %8llu %8llu %8llu %9llu | %5llu %10llu %7llu | %7llu "
	        "%5llu %5llu |",
	        (ull)s->t_ns / 1000000000, s->vm->name, vm_state_name(s->vm), (ull)s->resident,
	        (ull)s->zero, (ull)s->pooled, (ull)s->evictions, (ull)s->refaults, (ull)s->passes,
	        (ull)s->visited, (ull)s->aging_ns / 1000, (ull)s->faults,
	        (ull)s->fault_p50_ns / 1000, (ull)s->fault_p99_ns / 1000);
	for (unsigned i = 0; i < s->nr_gens; i++) {
		len = strlen(text);
		fmt_snprintf(text + len, sizeof(text) - len, " %llu:%llus:%llu/%llu",
		             (ull)s->gen[i].seq, (ull)s->gen[i].age_ns / 1000000000,
		             (ull)s->gen[i].frames[GEN_CLEAN], (ull)s->gen[i].frames[GEN_DIRTY]);
	}
	len = strlen(text);
	text[min_of(len, sizeof(text) - 2)] = '\n';
	console_write(text, min_of(len, sizeof(text) - 2) + 1);
}
