#include "hv/monitor_input.h"

#include "arch/x86/console.h"
#include "hv/line_edit.h"
#include "hv/monitor_command.h"
#include "hv/monitor_say.h"

static struct line_edit edit;

static void key(char c)
{
	switch (line_edit_key(&edit, c)) {
	case LINE_NOTHING:
		break;
	case LINE_CHANGED:
		console_typed(edit.text);
		break;
	case LINE_CANCELLED:
		console_typed_end();
		break;
	case LINE_TOO_LONG:
		console_typed_end();
		say("a command has at most %u characters", COMMAND_LINE_MAX - 1);
		break;
	case LINE_DONE:
		console_typed_end();
		monitor_line(edit.text);
		break;
	}
}

void monitor_input_poll(void)
{
	int c;

	while ((c = console_read()) >= 0)
		key((char)c);
}
