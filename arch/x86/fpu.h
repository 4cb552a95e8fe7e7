/*
 * FPU, SSE and AVX state. Eager: before a guest is entered its whole state is in the registers, and
 * nothing of another guest ever is. The hypervisor itself uses these registers only between
 * hal_fpu_begin() and hal_fpu_end().
 *
 * The registers of a CPU belong to one area (`live`) or to nobody.
 */
#pragma once

#include "lib/types.h"
#include "lib/util.h"

/* XSAVE area of x87, SSE and AVX: 512 legacy, 64 header, 256 upper halves. */
#define FPU_AREA_BYTES 832u

struct fpu_area {
	u8 data[align_up(FPU_AREA_BYTES, 64u)] aligned_to(64);
};

/* Enables the FPU of this CPU and sets XCR0 to fpu_xcr0(). Each CPU, after cpu_init_control(). */
void fpu_init_cpu(void);
/* XCR0 of the hypervisor, also the most a guest may set; 0 on a CPU without XSAVE. */
u64 fpu_xcr0(void);
/* State after reset. */
void fpu_init_area(struct fpu_area *area);
/* Registers to memory and back, whoever owns them. XCR0 must be fpu_xcr0(). */
void fpu_save(struct fpu_area *area);
void fpu_restore(const struct fpu_area *area);

/*
 * Makes `area` live on this CPU: saves what was live before, if that was another one, and loads.
 * Free when it is live already. Before every guest entry.
 */
void fpu_load_guest(struct fpu_area *area);
/* Writes the live registers back if they are `area`'s, so that memory is right; nobody's after. */
void fpu_put(struct fpu_area *area);
/* Drops `area` if it is live on this CPU: its contents are not needed any more. */
void fpu_forget(const struct fpu_area *area);
