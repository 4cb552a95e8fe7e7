/* What the monitor answers: whole lines on the console. Any thread, no lock at or above LOCK_CONSOLE. */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

/* A line; the newline is added. What is beyond 255 characters is cut. */
void say(const char *fmt, ...) printf_like(1, 2);
/* Lines that bring their newlines. */
void say_text(const char *text, size_t len);
