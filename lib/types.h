/*
 * Base types. Addresses and frame numbers of different spaces are one-member structs, so that
 * mixing them up does not compile: gva (guest virtual), gpa and gfn (guest physical), hpa and pfn
 * (machine physical).
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef static_assert
#define static_assert _Static_assert
#endif

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;

typedef struct {
	u64 v; /* bytes */
} gva_t;
typedef struct {
	u64 v; /* bytes */
} gpa_t;
typedef struct {
	u64 v; /* bytes */
} hpa_t;
typedef struct {
	u64 v; /* 4 KiB frames */
} gfn_t;
typedef struct {
	u64 v; /* 4 KiB frames */
} pfn_t;

#define PAGE_SHIFT 12
#define PAGE_SIZE  4096u
#define PAGE_MASK  (~(u64)(PAGE_SIZE - 1))
/* Pages under one leaf table; also the largest range of one notifier call. */
#define TABLE_PAGES 512u

static inline gfn_t gfn(u64 v)
{
	return (gfn_t){v};
}
static inline pfn_t pfn(u64 v)
{
	return (pfn_t){v};
}
static inline gpa_t gpa(u64 v)
{
	return (gpa_t){v};
}
static inline hpa_t hpa(u64 v)
{
	return (hpa_t){v};
}
static inline gva_t gva(u64 v)
{
	return (gva_t){v};
}
static inline gfn_t gfn_add(gfn_t g, u64 n)
{
	return (gfn_t){g.v + n};
}
static inline gfn_t gpa_gfn(gpa_t a)
{
	return (gfn_t){a.v >> PAGE_SHIFT};
}
static inline gpa_t gfn_gpa(gfn_t g)
{
	return (gpa_t){g.v << PAGE_SHIFT};
}
static inline pfn_t hpa_pfn(hpa_t a)
{
	return (pfn_t){a.v >> PAGE_SHIFT};
}
static inline hpa_t pfn_hpa(pfn_t p)
{
	return (hpa_t){p.v << PAGE_SHIFT};
}
