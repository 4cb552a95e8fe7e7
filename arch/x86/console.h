/*
 * The console (COM1, port 0xe9, or nothing) and the statistics channel (COM2). A call writes its
 * text in one piece: lines of different CPUs never mix.
 */
#pragma once

#include "arch/hal.h"
#include "lib/types.h"
#include "lib/util.h"

enum console_sink {
	CONSOLE_NONE = 0,
	CONSOLE_COM1 = 1,
	CONSOLE_E9 = 2, /* COM1 and port 0xe9 */
};

/* COM1 and COM2; everything is shown. First thing on the boot CPU. */
void console_init(void);
void console_set_sink(enum console_sink sink);
void console_set_level(enum hal_log level);
enum hal_log console_level(void);
/* Text as it is ('\n' becomes CR LF). Any context but NMI. */
void console_write(const char *text, size_t len);
/* To COM2, as it is. */
void stats_write(const char *text, size_t len);
/*
 * What somebody is typing at COM1. It stays on the last line: before anything else is written, that line is
 * ended, and behind it it is written again, so that every other line stays whole. One typist.
 */
#define CONSOLE_TYPED_MAX 160u
/* A byte that came in, or -1. */
int console_read(void);
/* This is the text now; empty: none. What is beyond CONSOLE_TYPED_MAX is not shown. */
void console_typed(const char *text);
/* The line is done with: ended if it was shown, and not written again. Any context but NMI. */
void console_typed_end(void);
/* hal_log() with its arguments in hand. */
void console_log(enum hal_log level, const char *fmt, va_list args)
        __attribute__((format(printf, 2, 0)));
/* From now on locks are waited for a bounded time only, then ignored: for a panic. */
void console_panic_mode(void);
/* Waits until both channels are empty, bounded. */
void console_drain(void);
