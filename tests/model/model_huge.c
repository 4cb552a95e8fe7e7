/*
 * model_tdp with 2 MiB mappings: first touches of 512 pages, splits, collapses with and without a pinned page
 * and dropped pages join the random actions; the oracle and the audit are the same.
 */
#define MODEL_HUGE 1
#include "tests/model/model_tdp.c"
