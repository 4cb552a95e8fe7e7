/*
 * paging: random changes of page tables, and accesses under them, in one paging mode. A software walker tells what
 * every access must read, write or fault with, and every table entry must hold afterwards.
 *
 *   mode=M        none, 32 (4 KiB pages only), pse (4 MiB too), pae or long (default)
 *   seed=N        other numbers (default 1)
 *   steps=N       ends after so many trips (default: none)
 *   seconds=N     ends after so long (default 10)
 *   ops=N         operations of a trip (default 48, at most 100)
 *   check=N       all tables and data are compared after every N trips (default 8; 1 finds the step of a fault)
 *   duets=N       with two CPUs: so many changes by one, under the feet of the other, behind every trip (default 2)
 *   ballast=N     pages beside the test that are checked between two trips (default 4)
 *
 * A failure prints the script, mode, seed and step: the same arguments lead there again.
 *
 * A trip runs in the mode under test, see trip.h; script.h makes it up, oracle.h judges it.
 */
#include "guest-tests/lib/guest.h"
#include "guest-tests/paging/duet.h"
#include "guest-tests/paging/oracle.h"
#include "guest-tests/paging/script.h"

#define STORM_EVERY 64

static struct world world;
static struct oracle oracle;
static struct script script;
static struct trip trip;
static struct pattern pattern;
static u64 seed, ops, check, ballast, duets;

static void ballast_init(void)
{
	pattern_init(&pattern, 20, 10, 0);
	for (u64 i = 0; i < mem_pages(); i++)
		pattern_fill(&pattern, mem_page(i), 0);
}

/* So that the pages of the test are not the only ones in use. */
static void ballast_touch(struct rng *rng, u64 count)
{
	for (u64 i = 0; i < count && mem_pages(); i++)
		pattern_check(&pattern, mem_page(rng_below(rng, mem_pages())), 0);
}

static void run(u64 step)
{
	script_end(&script);
	trip.ops = script.ops;
	trip_run(&trip, world.mode->long_mode);
	cpu_sti();
	oracle_begin(&oracle, &trip, step);
	for (const struct op *op = script.ops; op->kind != OP_END; op++)
		oracle_apply(&oracle, op);
}

static void begin(u64 step)
{
	script_begin(&script, &world, seed, step);
	trip.cr0 = script.cr0;
	trip.cr3 = script.cr3;
	trip.cr4 = script.cr4;
	trip.efer = script_efer(&script);
}

static void storm(u64 step, unsigned round)
{
	oracle_compare(&oracle); /* the sums want to know every word */
	begin(step);
	script_storm(&script, round);
	run(step);
	oracle_compare(&oracle);
	world_scramble(&world, &script.rng);
}

/* Trip number `step` and what comes behind it. */
static void turn(u64 step, struct rng *rng)
{
	if (world.mode->levels && step % STORM_EVERY == STORM_EVERY - 1) {
		storm(step, (unsigned)(step / STORM_EVERY));
		return;
	}
	begin(step);
	script_random(&script, (unsigned)ops);
	run(step);
	for (u64 i = 0; i < duets && world.mode->levels; i++)
		duet_run(&oracle, seed, step * duets + i);
	if (step % check == check - 1)
		oracle_compare(&oracle);
	ballast_touch(rng, ballast);
}

static void prepare(struct rng *rng)
{
	const char *mode;

	if (duets) /* before the page that CPUs start in becomes one of the test */
		smp_start();
	trip_init();
	trip_init_cpu(&trip);
	mode = cmdline_text("mode"); /* valid until the next question */
	world_init(&world, mode ? mode : "long");
	world.nxe = features->nx && seed % 4;
	oracle_init(&oracle, &world, seed);
	if (duets)
		duet_init(&world);
	ballast_init();
	world_scramble(&world, rng);
}

void guest_main(void)
{
	u64 steps = cmdline_u64("steps", UINT64_MAX), step, end;
	struct rng rng;

	seed = cmdline_u64("seed", 1);
	ops = cmdline_u64("ops", 48);
	check = cmdline_u64("check", 8);
	ballast = cmdline_u64("ballast", 4);
	duets = smp_count() > 1 ? cmdline_u64("duets", 2) : 0;
	rng.state = rng_mix(seed);
	VERDICT_CHECK(ops <= 100 && check, "ops= is at most 100, check= at least 1");
	prepare(&rng);
	end = time_ns() + cmdline_u64("seconds", 10) * 1000000000;
	for (step = 0; step < steps && time_ns() < end; step++)
		turn(step, &rng);
	oracle_compare(&oracle);
	console_printf("paging %s: %lu trips, %lu accesses, %lu faults, %lu with stale entries "
	               "allowed, %lu spurious faults\n",
	               world.mode->name, step, oracle.accesses, oracle.faults, oracle.stale,
	               oracle.spurious);
}
