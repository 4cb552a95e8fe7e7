#include "lib/fmt.h"

#include "lib/string.h"

struct sink {
	char *buf;
	size_t size; /* of buf, the NUL included */
	size_t len;  /* of the whole text so far */
};

struct spec {
	bool left, zero, plus, alt;
	size_t width;
	bool has_precision;
	size_t precision;
	unsigned size; /* bytes of an integer argument */
	char conv;
};

static void put(struct sink *s, char c)
{
	if (s->len + 1 < s->size)
		s->buf[s->len] = c;
	s->len++;
}

static void put_text(struct sink *s, const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		put(s, text[i]);
}

static void put_fill(struct sink *s, char c, size_t n)
{
	while (n--)
		put(s, c);
}

/* Text between its padding; `prefix` characters of it (a sign, 0x) stay left of zeroes. */
static void put_padded(struct sink *s, const struct spec *sp, const char *text, size_t n,
                       size_t prefix)
{
	size_t fill = sp->width > n ? sp->width - n : 0;

	if (!sp->left && !sp->zero)
		put_fill(s, ' ', fill);
	put_text(s, text, prefix);
	if (!sp->left && sp->zero)
		put_fill(s, '0', fill);
	put_text(s, text + prefix, n - prefix);
	if (sp->left)
		put_fill(s, ' ', fill);
}

static void put_number(struct sink *s, const struct spec *sp, u64 v, bool negative)
{
	char text[24], *end = text + sizeof(text), *p = end;
	bool hex = sp->conv == 'x' || sp->conv == 'X' || sp->conv == 'p';
	const char *digits = sp->conv == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
	unsigned base = hex ? 16 : 10;
	size_t prefix = 0;
	bool nonzero = v != 0;

	do {
		*--p = digits[v % base];
		v /= base;
	} while (v);
	if (hex && (sp->conv == 'p' || (sp->alt && nonzero))) {
		*--p = sp->conv == 'X' ? 'X' : 'x';
		*--p = '0';
		prefix = 2;
	} else if (!hex && (negative || sp->plus)) {
		*--p = negative ? '-' : '+';
		prefix = 1;
	}
	put_padded(s, sp, p, (size_t)(end - p), prefix);
}

static void put_string(struct sink *s, const struct spec *sp, const char *text)
{
	struct spec plain = *sp;
	size_t n = 0;

	if (!text)
		text = "(null)";
	while ((!sp->has_precision || n < sp->precision) && text[n])
		n++;
	plain.zero = false;
	put_padded(s, &plain, text, n, 0);
}

static const char *parse_number(const char *f, size_t *out)
{
	size_t v = 0;

	while (*f >= '0' && *f <= '9') {
		v = v * 10 + (size_t)(*f++ - '0');
		if (v > 4096)
			v = 4096;
	}
	*out = v;
	return f;
}

/* What stands between '%' and the end of the conversion. Returns behind it. */
static const char *parse_spec(const char *f, struct spec *sp, va_list *args)
{
	*sp = (struct spec){.size = sizeof(int)};
	for (;; f++) {
		if (*f == '-')
			sp->left = true;
		else if (*f == '0')
			sp->zero = true;
		else if (*f == '+')
			sp->plus = true;
		else if (*f == '#')
			sp->alt = true;
		else
			break;
	}
	if (*f == '*') {
		int width = va_arg(*args, int);

		sp->left = sp->left || width < 0;
		sp->width = (size_t)(width < 0 ? -(s64)width : width);
		f++;
	} else {
		f = parse_number(f, &sp->width);
	}
	if (*f == '.') {
		sp->has_precision = true;
		if (*++f == '*') {
			int precision = va_arg(*args, int);

			sp->has_precision = precision >= 0;
			sp->precision = precision >= 0 ? (size_t)precision : 0;
			f++;
		} else {
			f = parse_number(f, &sp->precision);
		}
	}
	for (; *f == 'l' || *f == 'z'; f++)
		sp->size = sizeof(u64);
	sp->conv = *f;
	return *f ? f + 1 : f;
}

static void put_integer(struct sink *s, const struct spec *sp, va_list *args)
{
	if (sp->conv == 'd' || sp->conv == 'i') {
		s64 v = sp->size == sizeof(u64) ? va_arg(*args, s64) : va_arg(*args, int);

		put_number(s, sp, v < 0 ? 0 - (u64)v : (u64)v, v < 0);
	} else {
		struct spec plain = *sp;

		plain.plus = false;
		put_number(s, &plain,
		           sp->size == sizeof(u64) ? va_arg(*args, u64) : va_arg(*args, unsigned),
		           false);
	}
}

static void put_conversion(struct sink *s, const struct spec *sp, va_list *args)
{
	char c;

	switch (sp->conv) {
	case 'd':
	case 'i':
	case 'u':
	case 'x':
	case 'X':
		put_integer(s, sp, args);
		break;
	case 'p':
		put_number(s, sp, (u64)(uintptr_t)va_arg(*args, void *), false);
		break;
	case 's':
		put_string(s, sp, va_arg(*args, const char *));
		break;
	case 'c':
		c = (char)va_arg(*args, int);
		put_padded(s, &(struct spec){.left = sp->left, .width = sp->width}, &c, 1, 0);
		break;
	case '%':
		put(s, '%');
		break;
	default: /* shown as it stands, so that the mistake is seen */
		put(s, '%');
		if (sp->conv)
			put(s, sp->conv);
	}
}

int fmt_vsnprintf(char *buf, size_t size, const char *fmt, va_list args)
{
	struct sink s = {.buf = buf, .size = size};
	struct spec sp;
	va_list rest;

	va_copy(rest, args);
	while (*fmt) {
		if (*fmt != '%') {
			put(&s, *fmt++);
			continue;
		}
		fmt = parse_spec(fmt + 1, &sp, &rest);
		put_conversion(&s, &sp, &rest);
	}
	va_end(rest);
	if (size)
		buf[s.len < size ? s.len : size - 1] = '\0';
	return (int)s.len;
}

int fmt_snprintf(char *buf, size_t size, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = fmt_vsnprintf(buf, size, fmt, args);
	va_end(args);
	return n;
}
