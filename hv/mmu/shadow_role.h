/*
 * What a shadow page stands for, beside the frame of the guest that it mirrors: the part of its key that is not
 * a page number. Two tables with the same gfn and role have the same entries, so they are one.
 *
 *   2:0    level, 1 .. 4: of the shadow table, whose entries map 4 KiB, 2 MiB, 1 GiB, 512 GiB
 *   4:3    paging mode of the guest
 *   5      direct: mirrors no table; entry i maps the gfn of the page + i times the span of a level
 *   12:6   quadrant: which part of the guest's table. A table of 4-byte entries has 1024, so two shadow tables at
 *          level 1 and four at level 2 go with it; a table at the top of PAE paging is 32 of a page's 4096 bytes
 *   15:13  what the entries above allow: W, U, X. Nothing but leaves forbids anything in a shadow table
 *   19:16  what else changes the meaning of entries: CR0.WP, EFER.NXE, CR4.PSE, CR4.SMEP
 *   20     direct: the guest's large page has Dirty set, or there is no paging. Else leaves have no W
 *   21     CR4.SMAP without CR0.WP: no leaf in supervisor mode's form from before SMAP was on
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

#define ROLE_LEVEL          BITS(2, 0)
#define ROLE_MODE_SHIFT     3u
#define ROLE_MODE           BITS(4, 3)
#define ROLE_DIRECT         BIT(5)
#define ROLE_QUADRANT_SHIFT 6u
#define ROLE_QUADRANT       BITS(12, 6)
#define ROLE_W              BIT(13)
#define ROLE_U              BIT(14)
#define ROLE_X              BIT(15)
#define ROLE_ACCESS         (ROLE_W | ROLE_U | ROLE_X)
#define ROLE_WP             BIT(16)
#define ROLE_NXE            BIT(17)
#define ROLE_PSE            BIT(18)
#define ROLE_SMEP           BIT(19)
#define ROLE_DIRTY          BIT(20)
#define ROLE_SMAP           BIT(21)
#define ROLE_SWITCHES       (ROLE_WP | ROLE_NXE | ROLE_PSE | ROLE_SMEP | ROLE_SMAP)

enum shadow_mode { SHADOW_UNPAGED, SHADOW_32BIT, SHADOW_PAE, SHADOW_LONG };

static inline unsigned role_level(u32 role)
{
	return (unsigned)(role & ROLE_LEVEL);
}
static inline enum shadow_mode role_mode(u32 role)
{
	return (enum shadow_mode)((role & ROLE_MODE) >> ROLE_MODE_SHIFT);
}
static inline unsigned role_quadrant(u32 role)
{
	return (unsigned)((role & ROLE_QUADRANT) >> ROLE_QUADRANT_SHIFT);
}
static inline bool role_direct(u32 role)
{
	return role & ROLE_DIRECT;
}
