/* The model of mm with mm/store.c and mm/pool.c, whose frames come from the same memory. */
#define MODEL_REAL_STORE
#include "tests/model/model_mm.c"
