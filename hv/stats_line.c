#include "hv/stats_line.h"

#include "hv/vm.h"
#include "lib/fmt.h"

typedef unsigned long long ull;

void line_add(struct stats_line *l, const char *fmt, ...)
{
	size_t room = sizeof(l->text) - l->len;
	va_list args;
	int n;

	va_start(args, fmt);
	n = fmt_vsnprintf(l->text + l->len, room, fmt, args);
	va_end(args);
	l->len += min_of((size_t)n, room - 1);
}

void line_string(struct stats_line *l, const char *s)
{
	line_add(l, "\"");
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			line_add(l, "\\%c", *s);
		else
			line_add(l, "%c", *s >= ' ' && *s < 0x7f ? *s : ' ');
	}
	line_add(l, "\"");
}

void line_count(struct stats_line *l, const char *name, u64 value)
{
	line_add(l, ",\"%s\":%llu", name, (ull)value);
}

void line_begin(struct stats_line *l, const char *type, u64 t_ns)
{
	line_add(l, "{\"type\":\"%s\",\"t_ns\":%llu", type, (ull)t_ns);
}

void line_vm(struct stats_line *l, const struct vm *vm)
{
	line_add(l, ",\"vm\":");
	line_string(l, vm->name);
}

void line_send(struct stats_line *l, stats_sink sink)
{
	line_add(l, "}\n");
	sink(l->text, l->len);
}
