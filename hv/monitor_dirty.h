/* The dirty log (mm/dirty_log.h) at the monitor. */
#pragma once

struct command;
struct space;

/* Switches the log of a space, reads it, or says how it is. Monitor thread, no lock held. */
void monitor_dirty(const struct command *c, struct space *s);
