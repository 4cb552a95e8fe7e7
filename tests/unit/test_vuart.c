/* hv/vuart: lines come out whole, long ones split, and a driver finds what it looks for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hv/vuart.h"

static struct vuart u;

/* Sends text; returns how many lines were complete, the last one in `line`. */
static unsigned send(const char *text, size_t n, char *line)
{
	unsigned lines = 0;

	for (size_t i = 0; i < n; i++) {
		if (!vuart_write(&u, 0, (u8)text[i]))
			continue;
		lines++;
		strcpy(line, u.line);
		vuart_line_done(&u);
	}
	return lines;
}

static int setup(void **state)
{
	(void)state;
	vuart_reset(&u);
	return 0;
}

static void test_vuart_lines(void **state)
{
	char line[VUART_LINE_MAX + 1];

	(void)state;
	assert_int_equal(send("one\r\ntwo\n", 9, line), 2);
	assert_string_equal(line, "two");
	assert_int_equal(send("\n", 1, line), 1);
	assert_string_equal(line, "");
	assert_int_equal(send("a\033[2J\tb\377\n", 9, line), 1);
	assert_string_equal(line, "a?[2J\tb?");
	assert_false(vuart_flush(&u));
	assert_int_equal(send("rest", 4, line), 0);
	assert_true(vuart_flush(&u));
	assert_string_equal(u.line, "rest");
}

static void test_vuart_long(void **state)
{
	char text[3 * VUART_LINE_MAX], line[VUART_LINE_MAX + 1];

	(void)state;
	memset(text, 'x', sizeof(text));
	assert_int_equal(send(text, sizeof(text), line), 3);
	assert_int_equal(strlen(line), VUART_LINE_MAX);
	assert_false(vuart_flush(&u));
}

static void test_vuart_registers(void **state)
{
	char line[VUART_LINE_MAX + 1];

	(void)state;
	assert_int_equal(vuart_read(&u, 5), 0x60); /* always room */
	assert_int_equal(vuart_read(&u, 2), 0x01);
	assert_false(vuart_write(&u, 3, 0x83)); /* DLAB */
	assert_false(vuart_write(&u, 0, 12));   /* divisor, no text */
	assert_false(vuart_write(&u, 1, 1));
	assert_int_equal(vuart_read(&u, 0), 12);
	assert_int_equal(vuart_read(&u, 1), 1);
	assert_false(vuart_write(&u, 3, 0x03));
	assert_false(vuart_flush(&u));
	assert_int_equal(vuart_read(&u, 0), 0); /* nothing was received */
	assert_false(vuart_write(&u, 1, 0xff));
	assert_int_equal(vuart_read(&u, 1), 0x0f);
	assert_false(vuart_write(&u, 2, 1)); /* FIFO on */
	assert_int_equal(vuart_read(&u, 2) & 0xc0, 0xc0);
	assert_int_equal(send("a", 1, line), 0);
	assert_int_equal(vuart_read(&u, 2) & 0x0f, 0x02); /* transmitter empty ... */
	assert_int_equal(vuart_read(&u, 2) & 0x0f, 0x01); /* ... said once */
	assert_false(vuart_write(&u, 7, 0x5a));
	assert_int_equal(vuart_read(&u, 7), 0x5a);
}

/* The test of a driver that looks whether there is a UART. */
static void test_vuart_loopback(void **state)
{
	(void)state;
	assert_int_equal(vuart_read(&u, 6), 0xb0);
	assert_false(vuart_write(&u, 4, 0x10 | 0x0a)); /* RTS and OUT2 come back as CTS and DCD */
	assert_int_equal(vuart_read(&u, 6), 0x90);
	assert_false(vuart_write(&u, 0, 'x'));
	assert_false(vuart_flush(&u)); /* nothing leaves */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup(test_vuart_lines, setup),
	        cmocka_unit_test_setup(test_vuart_long, setup),
	        cmocka_unit_test_setup(test_vuart_registers, setup),
	        cmocka_unit_test_setup(test_vuart_loopback, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
