// Nothing is allocated inside an epoch section: an allocation may reclaim, and a reclaimer waits for readers.
@@
identifier alloc = {hal_pages_alloc, frame_alloc, frame_alloc_huge, space_create, gfnmap_add};
@@
  epoch_enter();
  ... when != epoch_exit();
* alloc(...)
