/*
 * The order in which objects were put into the pool, by the index of their handles: a list whose links lie beside the
 * table of handles and not in the objects, for those move. Eight bytes of hypervisor memory an object.
 *
 * LOCK_STORE serialises everything. Index 0 is nobody's.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

/* The youngest from now on; it is not listed. Without memory it stays unlisted: nobody will find it old. */
void pool_order_add(u32 index);
/* The oldest again: it was taken out a moment ago, and memory for it is there. */
void pool_order_put_back(u32 index);
/* Takes it out if it is listed. */
void pool_order_remove(u32 index);
/* The one that was put there first; 0: none is listed. */
u32 pool_order_oldest(void);
u64 pool_order_listed(void);
/* Hypervisor memory for the links. */
u64 pool_order_bytes(void);
/* Gives the links' memory back. Nothing is listed any more. */
void pool_order_clear(void);
