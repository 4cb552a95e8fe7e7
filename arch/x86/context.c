#include "arch/x86/context.h"

#include "arch/hal.h"
#include "arch/x86/paging.h"
#include "arch/x86/percpu.h"

/* context_switch.S: saves the callee-saved registers and exchanges stacks; the first frame. */
void context_switch_stacks(u64 *save_sp, u64 load_sp);
void context_first(void);

/* What context_switch_stacks() pops. */
struct switch_frame {
	u64 r15, r14, r13, r12, rbx, rbp;
	u64 ret;
	u64 end; /* where a return address of context_first would be: 0 ends the backtrace */
};

void context_init(struct context *c, void *low, size_t bytes, void (*fn)(void *), void *arg)
{
	u64 high = (u64)(uintptr_t)low + bytes;
	struct switch_frame *f = (struct switch_frame *)(uintptr_t)(high - sizeof(*f));

	ASSERT(high % 16 == 0);
	*f = (struct switch_frame){
	        .r12 = (u64)(uintptr_t)fn,
	        .r13 = (u64)(uintptr_t)arg,
	        .ret = (u64)(uintptr_t)context_first,
	};
	*c = (struct context){
	        .sp = (u64)(uintptr_t)f,
	        .stack_low = (u64)(uintptr_t)low,
	        .stack_high = high,
	};
}

void context_switch(struct context *from, const struct context *to)
{
	struct percpu *pc = this_cpu();

	paging_sync();
	from->stack_low = pc->stack_low;
	from->stack_high = pc->stack_high;
	pc->stack_low = to->stack_low;
	pc->stack_high = to->stack_high;
	context_switch_stacks(&from->sp, to->sp);
}
