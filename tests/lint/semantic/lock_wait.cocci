// Who holds a spin lock waits for nobody, and takes no lock that lies outside of it.
@@
expression L;
identifier waits = {flush_wait, epoch_barrier, invalidate_begin, invalidate_end, space_drain, space_drop_range, thread_block, thread_yield};
@@
  spin_lock(L);
  ... when != spin_unlock(L);
* waits(...)

@@
expression L, S;
identifier take = {read_lock, write_lock};
@@
  spin_lock(L);
  ... when != spin_unlock(L);
* take(&S->mmu_lock)

@@
expression S;
expression list rest;
identifier hold = {read_lock, write_lock};
identifier drop = {read_unlock, write_unlock};
identifier waits = {flush_wait, epoch_barrier, space_drain, space_drop_range, thread_block, thread_yield};
@@
  hold(&S->mmu_lock);
  ... when != drop(&S->mmu_lock);
* waits(rest)
