/* Control of the store that stands in for mm/store.c where a test includes tests/host/fake/store.c. */
#pragma once

#include "lib/types.h"
#include "mm/store.h"

struct fake_store {
	u64 capacity;              /* pages it takes besides zero ones; STORE_FULL beyond */
	enum store_result put;     /* what store_put() says (STORE_OK: does it) */
	bool damaged;              /* store_get() finds what it keeps damaged */
	unsigned not_ready;        /* so often does store_ready() say no */
	unsigned get_waits;        /* ... and store_get() wait */
	bool on_disk;              /* what it keeps takes up no frames */
	void (*on_put)(u32 frame); /* before the contents are read */
	void (*on_get)(u64 word);  /* before the frame is written */
	void (*on_drop)(u64 word);
	u64 puts, gets, drops;
	u64 objects;
};
extern struct fake_store fake_store;

/* Empty, and with no wishes. */
void fake_store_reset(void);
