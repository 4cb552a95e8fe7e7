#include "arch/x86/console.h"

#include "arch/x86/insn.h"
#include "arch/x86/time.h"
#include "arch/x86/uart.h"
#include "lib/atomic.h"
#include "lib/fmt.h"
#include "lib/lock.h"
#include "lib/string.h"

#define PORT_E9    0xe9u
#define LINE_MAX   512u
#define PANIC_SPIN 1000000u

static struct uart com1, com2;
static struct spinlock lock = SPINLOCK_INIT(LOCK_CONSOLE, "console");
static enum console_sink sink = CONSOLE_COM1;
static enum hal_log max_level = HAL_INFO;
static a32 panicking;
static char typed[CONSOLE_TYPED_MAX]; /* console lock, like the next one */
static bool typed_shown;              /* `typed` is the last line */

void console_init(void)
{
	uart_init(&com1, UART_COM1);
	uart_init(&com2, UART_COM2);
}

void console_set_sink(enum console_sink s)
{
	sink = s;
}

void console_set_level(enum hal_log level)
{
	max_level = level;
}

enum hal_log console_level(void)
{
	return max_level;
}

/* The other CPUs are stopped by then, maybe inside the lock. */
void console_panic_mode(void)
{
	a32_store(&panicking, 1);
	for (u32 i = 0; i < PANIC_SPIN && a32_load(&lock.next) != a32_load(&lock.owner); i++)
		cpu_pause();
	/* Whatever was being typed: the report's last line is to be the last. */
	if (typed_shown)
		uart_write(&com1, "\r\n", 2);
	typed_shown = false;
}

static bool enter(void)
{
	if (a32_load(&panicking))
		return false;
	spin_lock(&lock);
	return true;
}

static void leave(bool locked)
{
	if (locked)
		spin_unlock(&lock);
}

static void uart_text(const char *text)
{
	uart_write(&com1, text, strlen(text));
}

static void put_locked(const char *text, size_t len)
{
	size_t start = 0;

	if (sink & CONSOLE_E9)
		for (size_t i = 0; i < len; i++)
			out8(PORT_E9, (u8)text[i]);
	if (sink == CONSOLE_NONE || !len)
		return;
	if (typed_shown)
		uart_text("\r\n");
	for (size_t i = 0; i < len; i++) {
		if (text[i] != '\n')
			continue;
		uart_write(&com1, text + start, i - start);
		uart_write(&com1, "\r\n", 2);
		start = i + 1;
	}
	uart_write(&com1, text + start, len - start);
	typed_shown = typed_shown && start == len;
	if (typed_shown)
		uart_text(typed);
}

int console_read(void)
{
	bool locked = enter();
	int c = sink == CONSOLE_NONE ? -1 : uart_read(&com1);

	leave(locked);
	return c;
}

/* From what is shown to `to`: the end that differs is taken back, the new one written. */
static void typed_change_locked(const char *to)
{
	size_t same = 0, have = typed_shown ? strlen(typed) : 0;

	while (same < have && typed[same] == to[same])
		same++;
	for (size_t i = same; i < have; i++)
		uart_text("\b \b");
	uart_text(to + same);
	fmt_snprintf(typed, sizeof(typed), "%s", to);
	typed_shown = to[0] != '\0';
}

void console_typed(const char *text)
{
	char line[CONSOLE_TYPED_MAX] = "";
	bool locked = enter();

	if (text[0])
		fmt_snprintf(line, sizeof(line), "> %s", text);
	if (sink != CONSOLE_NONE)
		typed_change_locked(line);
	leave(locked);
}

void console_typed_end(void)
{
	bool locked = enter();

	if (typed_shown)
		uart_text("\r\n");
	typed_shown = false;
	leave(locked);
}

void console_write(const char *text, size_t len)
{
	bool locked = enter();

	put_locked(text, len);
	leave(locked);
}

void stats_write(const char *text, size_t len)
{
	bool locked = enter();

	uart_write(&com2, text, len);
	leave(locked);
}

void console_drain(void)
{
	uart_drain(&com1);
	uart_drain(&com2);
}

void console_log(enum hal_log level, const char *fmt, va_list args)
{
	static const char *const prefix[] = {"error: ", "warning: ", "", "debug: "};
	char line[LINE_MAX];
	u64 us = time_ns() / 1000;
	int n;

	if (level > max_level)
		return;
	n = fmt_snprintf(line, sizeof(line) - 1, "[%3llu.%06llu] %s",
	                 (unsigned long long)(us / 1000000), (unsigned long long)(us % 1000000),
	                 prefix[level]);
	n += fmt_vsnprintf(line + n, sizeof(line) - 1 - (size_t)n, fmt, args);
	if (n > (int)sizeof(line) - 2) {
		n = (int)sizeof(line) - 2;
		memcpy(line + n - 3, "...", 3);
	}
	if (line[n - 1] != '\n')
		line[n++] = '\n';
	console_write(line, (size_t)n);
}
