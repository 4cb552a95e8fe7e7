#include "boot/options.h"

#include "arch/hal.h"
#include "arch/x86/console.h"
#include "lib/cmdline.h"
#include "lib/string.h"

#define VALUE_BYTES 32u

struct choice {
	const char *name;
	int value;
};

static const struct choice consoles[] = {
        {"com1", CONSOLE_COM1},
        {"e9", CONSOLE_E9},
        {"none", CONSOLE_NONE},
};
static const struct choice levels[] = {
        {"error", HAL_ERROR}, {"warn", HAL_WARN}, {"info", HAL_INFO}, {"debug", HAL_DEBUG},
        {"0", HAL_ERROR},     {"1", HAL_WARN},    {"2", HAL_INFO},    {"3", HAL_DEBUG},
};

/* A value longer than any of ours is as unknown as another. */
static bool has_key(const char *cmdline, const char *key)
{
	struct cmdline_word word;

	while (cmdline_next(&cmdline, &word))
		if (cmdline_key_is(&word, key))
			return true;
	return false;
}

static bool choose(const char *cmdline, const char *key, const struct choice *choices, size_t n,
                   int *out)
{
	char value[VALUE_BYTES];

	if (!cmdline_get(cmdline, key, value, sizeof(value)))
		return !has_key(cmdline, key);
	for (size_t i = 0; i < n; i++) {
		if (strcmp(choices[i].name, value) == 0) {
			*out = choices[i].value;
			return true;
		}
	}
	return false;
}

static bool choose_u32(const char *cmdline, const char *key, u32 min, u32 *out)
{
	u64 v;

	if (!has_key(cmdline, key))
		return true;
	if (!cmdline_get_u64(cmdline, key, &v) || v < min || v > UINT32_MAX)
		return false;
	*out = (u32)v;
	return true;
}

void options_apply(const char *cmdline, struct boot_options *out)
{
	static const struct choice selftests[] = {
	        {"wx", 1}, {"trap", 0}, {"stack", 0}, {"panic", 0}, {"nmi", 0}, /* the rest: hv's */
	};
	int sink = CONSOLE_COM1, level = (int)console_level(), wx = 0;
	bool sink_ok = choose(cmdline, "console", consoles, ARRAY_SIZE(consoles), &sink);
	bool level_ok = choose(cmdline, "loglevel", levels, ARRAY_SIZE(levels), &level);

	console_set_sink((enum console_sink)sink);
	console_set_level((enum hal_log)level);
	if (!sink_ok)
		hal_log(HAL_WARN, "console=: unknown value; it is com1, e9 or none");
	if (!level_ok)
		hal_log(HAL_WARN,
		        "loglevel=: unknown value; it is error, warn, info, debug or 0..3");
	/* Its other values are hv's, which also refuses unknown ones. */
	(void)choose(cmdline, "selftest", selftests, ARRAY_SIZE(selftests), &wx);
	*out = (struct boot_options){.max_cpus = HAL_MAX_CPUS, .selftest_wx = wx != 0};
	if (!choose_u32(cmdline, "maxcpus", 1, &out->max_cpus))
		hal_log(HAL_WARN, "maxcpus=: it is a number from 1");
	out->has_fail_cpu = has_key(cmdline, "failcpu");
	if (!choose_u32(cmdline, "failcpu", 0, &out->fail_cpu)) {
		hal_log(HAL_WARN, "failcpu=: it is an APIC ID");
		out->has_fail_cpu = false;
	}
}
