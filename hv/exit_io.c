/*
 * I/O ports of a VM: a 16550 at 0x3f8, the exit port at 0xf4 and, if the scenario wants them, those of experiments
 * (hv/experiment_call.h) and of guests that know they are one (hv/pv_call.h). Every other port reads as all ones
 * and takes writes without effect, as an empty ISA bus does.
 */
#include "arch/hal.h"
#include "arch/x86/vendor.h"
#include "hv/exit.h"
#include "hv/experiment.h"
#include "hv/pv.h"
#include "hv/vcpu.h"
#include "hv/vm.h"

#define EXIT_PORT 0xf4u

static u32 all_ones(unsigned size)
{
	return size == 4 ? ~0u : (1u << 8 * size) - 1;
}

static bool is_uart(u16 port)
{
	return port >= VUART_PORT && port < VUART_PORT + VUART_PORTS;
}

static u32 uart_in(struct vm *vm, unsigned reg)
{
	u32 value;

	spin_lock(&vm->device_lock);
	value = vuart_read(&vm->uart, reg);
	spin_unlock(&vm->device_lock);
	return value;
}

static void uart_out(struct vm *vm, unsigned reg, u8 value)
{
	spin_lock(&vm->device_lock);
	if (vuart_write(&vm->uart, reg, value)) {
		vm_guest_line(vm, vm->uart.line);
		vuart_line_done(&vm->uart);
	}
	spin_unlock(&vm->device_lock);
}

static void nobody_there(struct vcpu *v, const struct vexit_io *io)
{
	if (!a32_load(&v->vm->said_port) && !a32_xchg(&v->vm->said_port, 1))
		hal_log(HAL_DEBUG, "[%s] I/O port 0x%x and maybe others: nobody there", v->vm->name,
		        io->port);
}

/* A wide access to the UART meets one byte of it, the rest nobody. */
static u32 port_in(struct vcpu *v, const struct vexit_io *io)
{
	u32 none = all_ones(io->size);

	if (is_uart(io->port))
		return (none & ~0xffu) | uart_in(v->vm, io->port - VUART_PORT);
	nobody_there(v, io);
	return none;
}

static void port_out(struct vcpu *v, const struct vexit_io *io, u32 value)
{
	if (is_uart(io->port))
		uart_out(v->vm, io->port - VUART_PORT, (u8)value);
	else if (io->port == EXIT_PORT && !value)
		vm_stop(v->vm, VM_PASSED, "%s", "");
	else if (io->port == EXIT_PORT)
		vm_stop(v->vm, VM_FAILED, "the guest wrote %u to its exit port", value);
	else
		nobody_there(v, io);
}

/* Calls by port: a 32-bit IN. */
static bool is_call(const struct vexit_io *io, u16 port)
{
	return io->in && io->port == port && io->size == 4;
}

static void give_results(u64 *gpr, const u64 *result)
{
	static const u8 regs[] = {GPR_RBX, GPR_RCX, GPR_RSI, GPR_RDI,
	                          GPR_R8,  GPR_R9,  GPR_R10, GPR_R11};

	_Static_assert(ARRAY_SIZE(regs) == EXPERIMENT_RESULTS && ARRAY_SIZE(regs) == PV_RESULTS,
	               "a register for each");
	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++)
		gpr[regs[i]] = result[i];
}

/* EAX. The space is there as long as one of its vCPUs is. */
static u32 experiment_in(struct vcpu *v)
{
	u64 *gpr = v->arch.gpr;
	struct experiment e = {.command = (u32)gpr[GPR_RAX], .arg = {gpr[GPR_RBX], gpr[GPR_RCX]}};
	u32 status = experiment_run(v->vm->space, &e);

	if (status == EXPERIMENT_OK)
		give_results(gpr, e.result);
	return status;
}

static u32 pv_in(struct vcpu *v)
{
	u64 *gpr = v->arch.gpr;
	struct pv_call c = {.command = (u32)gpr[GPR_RAX], .arg = {gpr[GPR_RBX], gpr[GPR_RCX]}};
	u32 status = pv_run(v->vm->space, &c);

	if (status == PV_OK)
		give_results(gpr, c.result);
	return status;
}

static u32 in_value(struct vcpu *v, const struct vexit_io *io)
{
	if (is_call(io, EXPERIMENT_PORT) && v->vm->config->experiments)
		return experiment_in(v);
	if (is_call(io, PV_PORT) && v->vm->config->pv)
		return pv_in(v);
	return port_in(v, io);
}

/* A 32-bit register's upper half is cleared by a 32-bit IN, the rest of it kept by smaller ones. */
static void set_rax(struct vcpu *v, u32 value, unsigned size)
{
	u64 *rax = &v->arch.gpr[GPR_RAX];

	*rax = size == 4 ? value : (*rax & ~(u64)all_ones(size)) | value;
}

void exit_io(struct vcpu *v, const struct vexit_io *io)
{
	u32 value;

	if (io->string) { /* INS and OUTS: no device here needs them */
		vcpu_inject_gp(v);
		return;
	}
	if (!exit_step(v))
		return;
	if (io->in) {
		value = in_value(v, io);
		set_rax(v, value & all_ones(io->size), io->size);
	} else {
		port_out(v, io, (u32)v->arch.gpr[GPR_RAX] & all_ones(io->size));
	}
}
