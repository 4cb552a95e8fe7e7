/* The torture of the store with a disk below it; there has to be memory for the order of its objects. */
#define TORTURE_DISK
#define PAGES_LEFT 6
#include "tests/torture/torture_store.c"
