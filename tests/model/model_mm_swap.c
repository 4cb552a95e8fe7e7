/* The model of mm with mm/store.c, mm/pool.c, and mm/swap.c above a disk. */
#define MODEL_REAL_STORE
#define MODEL_DISK
#include "tests/model/model_mm.c"
