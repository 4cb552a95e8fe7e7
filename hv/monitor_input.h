/*
 * Keys from COM1. While nobody types nothing is written; what is being typed stays on the console's last
 * line. Monitor thread.
 */
#pragma once

#include "lib/types.h"

/* How often monitor_input_poll() is to be called: the FIFO of a UART has 16 bytes. */
#define MONITOR_INPUT_NS 40000000ull

/* Takes what has come in; carries out each line that is whole. */
void monitor_input_poll(void);
