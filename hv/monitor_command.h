/*
 * The commands of the monitor carried out: hv/command.h says what they are. Monitor thread, outside of the
 * world, no lock held; what takes long lets others run. Answers go to the console in whole lines.
 */
#pragma once

#include "hv/command.h"

/* A line that was typed: carried out, or refused with a sentence. */
void monitor_line(const char *text);
/* A command of the timeline, shown with its time first. */
void monitor_at(const char *text, const struct command *c);
