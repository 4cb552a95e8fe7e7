/*
 * A line that is being typed: keys in, a text out. Printable ASCII is added at the end; backspace, ^W (a
 * word), ^U (all) take away; ^C gives up; the arrows up and down go through the last lines. Everything
 * else is ignored. Pure.
 */
#pragma once

#include "hv/command.h"
#include "lib/types.h"

#define LINE_EDIT_HISTORY 8u

enum line_event {
	LINE_NOTHING, /* the text is what it was */
	LINE_CHANGED,
	LINE_DONE, /* Enter: `text` is the line, also if it is empty; the next key begins another */
	LINE_TOO_LONG,  /* Enter, but not all that was typed fits `text` */
	LINE_CANCELLED, /* ^C: the next key begins another */
};

struct line_edit {
	char text[COMMAND_LINE_MAX]; /* ends with a zero */
	size_t len;
	bool over;      /* the line is done with: the next key begins another */
	bool cut;       /* more was typed than there is room for */
	bool behind_cr; /* LF behind CR is the same Enter */
	enum { LINE_KEY, LINE_ESCAPE, LINE_SEQUENCE } state;
	unsigned nr, at; /* lines kept; which one is shown, 0 = the new one, 1 = the last */
	char draft[COMMAND_LINE_MAX];                      /* the new one, meanwhile */
	char history[LINE_EDIT_HISTORY][COMMAND_LINE_MAX]; /* the last one first */
};

/* All zero is a line not begun. */
enum line_event line_edit_key(struct line_edit *e, char key) must_check;
