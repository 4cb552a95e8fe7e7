#include "hv/line_edit.h"

#include "hv/slice.h"
#include "lib/string.h"

#define KEY_INTERRUPT 0x03
#define KEY_BACKSPACE 0x08
#define KEY_KILL      0x15
#define KEY_WORD      0x17
#define KEY_ESCAPE    0x1b
#define KEY_DELETE    0x7f

static void text_set(struct line_edit *e, const char *text)
{
	e->len = strlen(text);
	memmove(e->text, text, e->len + 1);
}

static void begin(struct line_edit *e)
{
	e->over = e->cut = false;
	e->at = 0;
	text_set(e, "");
}

/* Empty lines and repetitions are not worth keeping. */
static void history_add(struct line_edit *e)
{
	if (!e->len || (e->nr && !strcmp(e->history[0], e->text)))
		return;
	memmove(e->history[1], e->history[0], sizeof(e->history) - sizeof(e->history[0]));
	memcpy(e->history[0], e->text, sizeof(e->history[0]));
	e->nr += e->nr < LINE_EDIT_HISTORY;
}

static enum line_event history_show(struct line_edit *e, unsigned at)
{
	if (!e->at)
		memcpy(e->draft, e->text, sizeof(e->draft));
	e->at = at;
	e->cut = false;
	text_set(e, at ? e->history[at - 1] : e->draft);
	return LINE_CHANGED;
}

/* The last byte of an escape sequence. */
static enum line_event arrow(struct line_edit *e, char key)
{
	e->state = LINE_KEY;
	if (key == 'A' && e->at < e->nr)
		return history_show(e, e->at + 1);
	if (key == 'B' && e->at)
		return history_show(e, e->at - 1);
	return LINE_NOTHING;
}

static enum line_event escape(struct line_edit *e, char key)
{
	if (e->state == LINE_ESCAPE) {
		e->state = key == '[' || key == 'O' ? LINE_SEQUENCE : LINE_KEY;
		return LINE_NOTHING;
	}
	if ((u8)key < ' ')
		e->state = LINE_KEY; /* no sequence after all */
	return key >= 0x40 && key < 0x7f ? arrow(e, key) : LINE_NOTHING;
}

static enum line_event cut_to(struct line_edit *e, size_t len)
{
	if (len == e->len && !e->cut)
		return LINE_NOTHING;
	e->len = len;
	e->text[len] = '\0';
	e->cut = false;
	return LINE_CHANGED;
}

static size_t without_word(const struct line_edit *e)
{
	size_t n = e->len;

	while (n && e->text[n - 1] == ' ')
		n--;
	while (n && e->text[n - 1] != ' ')
		n--;
	return n;
}

static enum line_event enter(struct line_edit *e)
{
	e->over = true;
	if (e->cut)
		return LINE_TOO_LONG;
	history_add(e);
	return LINE_DONE;
}

static enum line_event add(struct line_edit *e, char key)
{
	if (!text_is_text(key))
		return LINE_NOTHING;
	if (e->len == COMMAND_LINE_MAX - 1) {
		e->cut = true;
		return LINE_NOTHING;
	}
	e->text[e->len++] = key;
	e->text[e->len] = '\0';
	return LINE_CHANGED;
}

enum line_event line_edit_key(struct line_edit *e, char key)
{
	bool behind_cr = e->behind_cr;

	e->behind_cr = key == '\r';
	if (behind_cr && key == '\n')
		return LINE_NOTHING;
	if (e->over)
		begin(e);
	if (e->state != LINE_KEY)
		return escape(e, key);
	switch (key) {
	case '\r':
	case '\n':
		return enter(e);
	case KEY_BACKSPACE:
	case KEY_DELETE:
		return cut_to(e, e->cut ? e->len : e->len - (e->len > 0));
	case KEY_WORD:
		return cut_to(e, without_word(e));
	case KEY_KILL:
		return cut_to(e, 0);
	case KEY_INTERRUPT:
		e->over = true;
		return LINE_CANCELLED;
	case KEY_ESCAPE:
		e->state = LINE_ESCAPE;
		return LINE_NOTHING;
	default:
		return add(e, key);
	}
}
