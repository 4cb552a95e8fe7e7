/*
 * The memory of the test: frames that serve as tables, frames that hold data, and for each a copy of what it
 * must contain (the model). Real memory is changed by trips alone, the model by the oracle.
 *
 * A frame that holds a table always holds one of the same level, and what an entry may point to is chosen so
 * that every path of tables ends in a frame of the test, also through tables that map themselves.
 *
 * Every data frame has at FRAME_CODE instructions that return the number of the frame.
 */
#pragma once

#include "guest-tests/lib/rng.h"
#include "guest-tests/paging/mode.h"

#define SPACES     3 /* address spaces */
#define TABLES_1   6 /* tables of level 1, ... */
#define TABLES_2   4
#define TABLES_3   3
#define FRAMES_MAX 64
#define FRAME_CODE 0x600
#define AREA_BYTES (4ul << 20)

struct frame {
	u64 at;
	u8 level; /* of the table, 0: data */
};

struct world {
	struct mode *mode;
	bool nxe; /* EFER.NXE in this run */
	u64 area; /* 4 MiB of data, aligned */
	struct frame frames[FRAMES_MAX];
	unsigned frame_count;
	u64 root[SPACES];
	u64 last_pd[SPACES]; /* PAE: what PDPTE 3 holds */
	u64 tables[LEVELS_MAX + 1][SPACES + TABLES_1];
	unsigned table_count[LEVELS_MAX + 1];
	u64 data[FRAMES_MAX]; /* data frames that an entry of level 1 may point to */
	unsigned data_count;
};

void world_init(struct world *world, const char *mode);

/* Number of the frame at gpa, or -1. */
int world_frame(const struct world *world, u64 gpa);
/* Value in the model, of 4 or 8 bytes; gpa in a frame of the test. */
u64 world_load(const struct world *world, u64 gpa, unsigned bytes);
void world_store(const struct world *world, u64 gpa, u64 value, unsigned bytes);

/* A random entry for a table of the level. */
u64 world_entry(const struct world *world, struct rng *rng, unsigned level);
/* Random entries at all hot places; memory and model. */
void world_scramble(const struct world *world, struct rng *rng);
