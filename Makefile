# Varve: one Makefile for the hypervisor, its guests and the tests. `make help` lists the targets.
#
#   V=1                 show the commands
#   O=build             where everything that is built goes
#   CC=gcc|clang        compiler of the hypervisor and the guests
#   CROSS_COMPILE=x86_64-linux-gnu-   prefix of compiler and binutils (clang: its --target)
#   DEBUG=0             without debug assertions and the undefined-behaviour traps
#   AGING=0             without aging: no Accessed bit is read, pages leave in the order in which they came
#   LOCKLESS=0          harvests under the MMU lock only, whatever the scenario would like
#   MAX_CPUS=N          CPUs that the image can use (64)
#   OPT=-O2             how the compiler optimises
#   COVERAGE=1          notes what a boot reaches (make coverage)
#   LZ4_LIB=FILE        a static liblz4 for the target, if the compiler does not find Debian's
#   IMAGE=varve         name of what is linked: $(O)/$(IMAGE).elf and $(O)/$(IMAGE)32.elf
#   JOBS=N              how many compilers run at a time in `make run`, `make test`, ...

O       ?= build
V       ?= 0
DEBUG   ?= 1
AGING   ?= 1
LOCKLESS ?= 1
MAX_CPUS ?=
OPT     ?= -O2
IMAGE   ?= varve
COVERAGE ?= 0
JOBS    ?= $(shell nproc 2>/dev/null || echo 2)
MACHINE ?= auto
SCENARIO ?= tools/scenarios/demo.cfg

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
ifeq ($(V),0)
Q := @
say = @printf '  %-8s%s\n' '$(1)' '$(2)'
else
Q :=
say = @:
endif
# Wrapped so that a recipe may start further makes of this same file: what `setup` installed must be
# seen by a fresh reading of the variables below.
again = $(MAKE) --no-print-directory -j$(JOBS)

# --- tools -----------------------------------------------------------------------------------------

ifeq ($(origin CC),default)
CC := gcc
endif
ifneq ($(findstring clang,$(notdir $(firstword $(CC)))),)
TCC := $(CC) $(if $(CROSS_COMPILE),--target=$(patsubst %-,%,$(notdir $(CROSS_COMPILE))))
UBSAN := -fsanitize=undefined -fno-sanitize=function -fsanitize-trap=undefined
else
TCC := $(CROSS_COMPILE)$(CC)
UBSAN := -fsanitize=undefined -fsanitize-undefined-trap-on-error
endif
TLD      := $(CROSS_COMPILE)ld
TOBJCOPY := $(CROSS_COMPILE)objcopy
HOSTCC   ?= gcc
FUZZCC   ?= clang
LZ4_LIB  ?= $(shell $(TCC) -print-file-name=liblz4.a)

# --- flags -----------------------------------------------------------------------------------------

WARN := -Wall -Wextra -Wshadow -Wconversion -Wmissing-prototypes -Wvla -Werror
# No date and no path of the building machine gets into a binary.
REPRO := -ffile-prefix-map=$(CURDIR)/= -ffile-prefix-map=$(CURDIR)=. -Wdate-time
# Prefetching for a write: a hint, which a CPU that does not know it takes for a NOP in 64-bit mode.
PREFETCHW := -mprfchw
BARE := -std=gnu17 $(OPT) -g $(WARN) $(REPRO) -I. -m64 -ffreestanding -mno-red-zone -fno-strict-aliasing \
	-fno-omit-frame-pointer -fno-pic -fno-pie -mcmodel=small -fcf-protection=none \
	-fno-asynchronous-unwind-tables -fno-delete-null-pointer-checks $(PREFETCHW)
HV_CFLAGS := $(BARE) -mgeneral-regs-only -fstack-protector-strong
ifneq ($(DEBUG),0)
HV_CFLAGS += -DVARVE_DEBUG $(UBSAN)
endif
ifeq ($(LOCKLESS),0)
HV_CFLAGS += -DVARVE_LOCKED_ONLY
endif
ifneq ($(MAX_CPUS),)
HV_CFLAGS += -DHAL_MAX_CPUS=$(MAX_CPUS)u
endif
ifneq ($(COVERAGE),0)
HV_CFLAGS += -DVARVE_COVERAGE -fsanitize-coverage=trace-pc
endif
LDFLAGS := -nostdlib -static -z max-page-size=0x1000 -z noexecstack --build-id=none
DEPS = -MMD -MP -MF $(@:.o=.d) -MT $@

# --- the hypervisor --------------------------------------------------------------------------------

HV_SRC := $(sort $(wildcard boot/*.S boot/*.c arch/x86/*.S arch/x86/*.c arch/x86/vmx/*.S arch/x86/vmx/*.c \
	arch/x86/svm/*.S arch/x86/svm/*.c hv/*.c hv/mmu/*.c mm/*.c lib/*.c))
# Aging, and what says in its place that nothing was ever touched. All of it is compiled, so that neither rots.
AGING_SRC := $(addprefix mm/,age.c age_flush.c bloom.c collapse.c notifier_age.c promote.c walk.c walk_cost.c) \
	$(addprefix hv/mmu/,tdp_age.c shadow_age.c)
NO_AGING_SRC := mm/no_aging.c hv/mmu/no_aging.c
HV_OBJ := $(HV_SRC:%=$(O)/hv/%.o)
IMAGE_SRC := $(filter-out $(if $(filter 0,$(AGING)),$(AGING_SRC),$(NO_AGING_SRC)),$(HV_SRC))
IMAGE_OBJ := $(IMAGE_SRC:%=$(O)/hv/%.o)

# --- the guests: guest-tests/NAME and guest-tests/bad/NAME, each a program beside guest-tests/lib ---
# A guest's flags.mk may set, with NAME its folder's name:
#   CFLAGS_NAME, LDFLAGS_NAME, FORMAT_NAME (elf32-i386, elf64-x86-64 or binary), LDSCRIPT_NAME

GUEST_LIB_SRC := $(sort $(wildcard guest-tests/lib/*.S guest-tests/lib/*.c))
GUEST_LIB_OBJ := $(GUEST_LIB_SRC:%=$(O)/%.o)
GUEST_LDSCRIPT := $(firstword $(wildcard guest-tests/lib/guest.ld guest-tests/lib/*.ld))
GUEST_DIRS := $(filter-out guest-tests/lib guest-tests/bad, \
	$(patsubst %/,%,$(sort $(dir $(wildcard guest-tests/*/*.[cS] guest-tests/bad/*/*.[cS])))))
GUESTS := $(GUEST_DIRS:%=$(O)/guests/%)
GUEST_ELF := $(foreach d,$(GUEST_DIRS),$(O)/guests/$(notdir $(d)).elf)
GUEST_CFLAGS := $(BARE) -mgeneral-regs-only -fno-stack-protector
-include $(GUEST_DIRS:%=%/flags.mk)

# --- what runs on the build machine ----------------------------------------------------------------
# The same mm, MMU and parser sources against tests/host: with sanitizers, with assertions only (plain),
# as in a release (bench), and with simulated CPUs that change places at atomic operations (cpus).

HOST_SRC := $(filter-out lib/string.c $(NO_AGING_SRC),$(sort $(wildcard mm/*.c hv/mmu/*.c lib/*.c \
	$(addprefix hv/,scenario*.c experiment.c pv.c command.c line_edit.c timeline.c value.c decode*.c emulate*.c gwalk*.c insn*.c real_mode.c elf.c vlapic.c vuart.c cpuid.c msr.c) \
	$(addprefix hv/,exit*.c fetch.c vcpu.c vm.c run.c loader.c world.c timer.c percpu.c chaos.c) \
	$(addprefix boot/,acpi.c memmap.c multiboot*.c raw.c) \
	$(addprefix arch/x86/,vendor.c vcpu_event.c vcpu_shadow.c vcpu_state.c) \
	$(addprefix arch/x86/svm/,control.c event.c exit.c judge.c ops.c run.c state.c) \
	$(addprefix arch/x86/vmx/,control.c cr.c event.c exit.c judge.c ops.c pml.c run.c state.c vm86.c)))) $(wildcard tests/host/*.c)
UNIT_SRC := $(sort $(wildcard tests/unit/test_*.c))
TORTURE_SRC := $(sort $(wildcard tests/torture/*.c))
MODEL_SRC := $(sort $(wildcard tests/model/*.c))
FUZZ_SRC := $(sort $(wildcard tests/fuzz/fuzz_*.c))
BENCH_SRC := $(sort $(wildcard tests/bench/bench_*.c))
# With what a guest touches, drawn by its own sources.
LAB_SRC := $(sort $(wildcard tools/lab/*.c)) guest-tests/workload/touches.c $(addprefix guest-tests/lib/,cmdline.c rng.c zipf.c)
# Instructions that only the kernel of a machine may execute are functions there: tests/host/machine comes first.
HOST_BASE := -std=gnu17 -g $(WARN) $(REPRO) $(PREFETCHW) -Itests/host/machine -I. -DVARVE_HOST -DVARVE_DEBUG -fno-strict-aliasing -fno-omit-frame-pointer
HOST_CFLAGS_plain := $(HOST_BASE) -O2
HOST_CFLAGS_asan  := $(HOST_BASE) -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
HOST_CFLAGS_tsan  := $(HOST_BASE) -O1 -fsanitize=thread
HOST_CFLAGS_bench := $(filter-out -DVARVE_DEBUG,$(HOST_BASE)) -O2
HOST_CFLAGS_cpus  := $(HOST_CFLAGS_asan) -include tests/host/yield.h
# Counters of lines; no path is hidden, or they would not be found. Yields as `cpus` does.
HOST_CFLAGS_cov   := $(filter-out $(REPRO) -O1 -fsanitize% -fno-sanitize%,$(HOST_CFLAGS_cpus)) -O1 --coverage
HOST_CFLAGS_fuzz  := $(HOST_BASE) -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
HOST_LIBS := -llz4 -lpthread

UNIT_plain := $(UNIT_SRC:tests/unit/%.c=$(O)/host/plain/%)
UNIT_asan := $(UNIT_SRC:tests/unit/%.c=$(O)/host/asan/%)
TORTURE := $(TORTURE_SRC:tests/torture/%.c=$(O)/host/tsan/%)
# Explorers of interleavings switch stacks millions of times: nothing for the sanitizer.
MODEL := $(foreach m,$(MODEL_SRC:tests/model/%.c=%),$(O)/host/$(if $(findstring explore,$m),plain,$(if $(findstring machine,$m),cpus,asan))/$m)
# What `make coverage` runs: not the explorers, which have copies of the code in them.
COVERED := $(UNIT_SRC:tests/unit/%.c=$(O)/host/cov/%) \
	$(foreach m,$(MODEL_SRC:tests/model/%.c=%),$(if $(findstring explore,$m),,$(O)/host/cov/$m))
BENCHMARKS := $(BENCH_SRC:tests/bench/%.c=$(O)/host/bench/%)
FUZZERS := $(FUZZ_SRC:tests/fuzz/%.c=$(O)/host/fuzz/%)

# --- targets ---------------------------------------------------------------------------------------

.PHONY: all hv guests host-tests fuzzers benchmarks lab lab-traces lab-report lab-results run test bench results soak soak-report iso check unit coverage mutants fuzz gdb plot clean help FORCE

all: hv guests ## build the hypervisor and the guests

hv: $(O)/$(IMAGE).elf $(O)/$(IMAGE)32.elf $(HV_OBJ)

guests: $(GUEST_ELF)

run: ## set up, build, boot the demo on the best machine there is, plot it (MACHINE=, SCENARIO=)
	$(Q)tools/setup run
	$(Q)$(again) all
	$(Q)status=0; tools/run --build $(O) --machine $(MACHINE) --scenario $(SCENARIO) --out out/demo || status=$$?; \
	tools/plot out/demo/stats.jsonl -o out/demo/generations.svg || true; exit $$status

test: ## set up, then every test; the last line counts them
	$(Q)tools/setup test
	$(Q)tests/all.py --build $(O) --make '$(MAKE)' --jobs $(JOBS)

bench: ## figures and comparisons: out/bench/report.md (BENCH=NAME: one of them)
	$(Q)tools/setup bench
	$(Q)$(again) O=$(O)/release DEBUG=0 all benchmarks $(O)/release/host/bench/lab
	$(Q)tools/bench --build $(O)/release --out out/bench $(if $(BENCH),--only '$(BENCH)')

results: ## write the figures of the last `make bench` to docs/results.md and the headline to the README
	$(Q)tools/bench --results docs/results.md --readme README.md --out out/bench

bench-record: ## record the deterministic figures that `make test` compares with
	$(Q)tools/setup test
	$(Q)$(again) O=$(O)/release DEBUG=0 all
	$(Q)tools/bench --build $(O)/release --out out/bench --record tests/bench/recorded.json

soak: ## twenty minutes of two guests with chaos and a controller, audited; all runs so far: out/soak.log (SOAK=seconds)
	$(Q)tools/setup run
	$(Q)$(again) all
	$(Q)tools/soak --build $(O) --machine $(MACHINE) --seconds $(or $(SOAK),1200)

soak-report: ## what all runs of the soak come to
	$(Q)tools/soak --report

lab: ## build the policy laboratory: build/host/bench/lab (tools/lab/README.md)
	$(Q)tools/setup lab
	$(Q)$(again) $(O)/host/bench/lab

lab-traces: lab ## record Debian programs for the laboratory: out/lab/traces (some minutes)
	$(Q)tools/lab/record $(O)/host/bench/lab out/lab/traces

LAB_TRACES := $(or $(wildcard out/lab/traces/*.trace),$(wildcard tools/lab/traces/*.trace))
lab-report: lab ## every policy against every trace: out/lab/report.md, matrix.csv, matrix.svg (a minute)
	@mkdir -p out/lab
	$(Q)$(O)/host/bench/lab matrix --jobs $(JOBS) synthetic $(LAB_TRACES) > out/lab/matrix.csv
	$(Q)tools/lab/report out/lab/matrix.csv --markdown out/lab/report.md --svg out/lab/matrix.svg

lab-results: ## write the figures of the last `make lab-report` to docs/lab.md
	$(Q)tools/lab/report out/lab/matrix.csv --results docs/lab.md --svg docs/lab.svg

iso: ## a GRUB image of the demo for BIOS and UEFI: build/varve.iso
	$(Q)tools/setup iso
	$(Q)$(again) all
	$(Q)tools/run --build $(O) --scenario $(SCENARIO) --make-iso $(O)/varve.iso

check: ## formatting, both compilers, lints, static analysis
	$(Q)tools/setup check
	$(Q)tests/lint/run.py --build $(O) --make '$(MAKE)' --jobs $(JOBS)

unit: ## host tests only, with and without sanitizers
	$(Q)tools/setup unit
	$(Q)tests/all.py --build $(O) --make '$(MAKE)' --jobs $(JOBS) --only unit,model,torture,tools

coverage: ## what host tests and a few boots reach: out/coverage/report.md and docs/coverage.md
	$(Q)tools/setup coverage
	$(Q)$(again) O=$(O)/cover COVERAGE=1 all
	$(Q)tools/coverage --build $(O) --make '$(MAKE)' --jobs $(JOBS) --boots $(O)/cover --keep docs/coverage.md

mutants: ## every ordering, flush and bracket left out, one at a time: out/mutants/report.md (TRUST=1: not those with a proof)
	$(Q)tools/setup unit
	$(Q)tools/mutants --build $(O) --make '$(MAKE)' --jobs $(JOBS) $(if $(TRUST),--trust)

fuzz: ## every fuzz target for a while (SECONDS_EACH=60)
	$(Q)tools/setup fuzz
	$(Q)tests/all.py --build $(O) --make '$(MAKE)' --jobs $(JOBS) --only fuzz --fuzz-seconds $(or $(SECONDS_EACH),60)

gdb: ## QEMU stopped at the first instruction, and a debugger with the symbols attached
	$(Q)tools/setup gdb
	$(Q)$(again) all
	$(Q)tools/run --build $(O) --machine qemu-svm --scenario $(SCENARIO) --out out/gdb --gdb & pid=$$!; sleep 1; \
	gdb -q $(O)/varve.elf -ex 'target remote localhost:1234' -ex 'hbreak hv_main'; kill $$pid 2>/dev/null || true

plot: ## draw the generations over time of the last `make run`
	$(Q)tools/plot out/demo/stats.jsonl -o out/demo/generations.svg

clean: ## remove what was built and the results of runs
	$(Q)rm -rf $(O) out

# One variable, for the lints that compile with the same flags.
print-%:
	@printf '%s\n' '$($*)'

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-12s %s\n", $$1, $$2 }'
	@sed -n '3,15s/^#//p' Makefile

# --- rules -----------------------------------------------------------------------------------------

# Changed only when compiler or flags change, so that objects of two configurations never mix.
$(O)/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(TCC) $(HV_CFLAGS) $(LDFLAGS) | $(HOSTCC) $(HOST_BASE) | $(LZ4_LIB)' > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(O)/hv/%.c.o: %.c $(O)/flags
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(TCC) $(HV_CFLAGS) $(DEPS) -c $< -o $@

# It would call itself.
$(O)/hv/arch/x86/cover.c.o: HV_CFLAGS := $(filter-out -fsanitize-coverage%,$(HV_CFLAGS))

$(O)/hv/%.S.o: %.S $(O)/flags
	$(call say,AS,$<)
	@mkdir -p $(@D)
	$(Q)$(TCC) $(HV_CFLAGS) -D__ASSEMBLY__ $(DEPS) -c $< -o $@

# Changed only when the list does, so that AGING can be switched in one folder.
$(O)/$(IMAGE).list: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(IMAGE_OBJ)' > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(O)/$(IMAGE).elf: $(IMAGE_OBJ) $(O)/$(IMAGE).list linker.ld
	$(call say,LD,$@)
	@test -f "$(LZ4_LIB)" || { echo "liblz4.a not found (package liblz4-dev, or set LZ4_LIB=)" >&2; exit 1; }
	$(Q)$(TLD) $(LDFLAGS) -T linker.ld -o $@ $(IMAGE_OBJ) $(LZ4_LIB)

# QEMU's -kernel takes a 32-bit ELF only.
$(O)/$(IMAGE)32.elf: $(O)/$(IMAGE).elf
	$(call say,OBJCOPY,$@)
	$(Q)$(TOBJCOPY) -O elf32-i386 --strip-debug $< $@

guest-flags = $(CFLAGS_$(notdir $(patsubst %/,%,$(dir $(1)))))

$(O)/guest-tests/%.c.o: guest-tests/%.c $(O)/flags
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(TCC) $(GUEST_CFLAGS) $(call guest-flags,$<) $(DEPS) -c $< -o $@

$(O)/guest-tests/%.S.o: guest-tests/%.S $(O)/flags
	$(call say,AS,$<)
	@mkdir -p $(@D)
	$(Q)$(TCC) $(GUEST_CFLAGS) -D__ASSEMBLY__ $(call guest-flags,$<) $(DEPS) -c $< -o $@

# One guest: $(1) its folder, $(2) its name.
define guest
$(O)/guests/$(2).elf: $(patsubst %,$(O)/%.o,$(sort $(wildcard $(1)/*.[cS]))) $(GUEST_LIB_OBJ) \
		$(or $(LDSCRIPT_$(2)),$(GUEST_LDSCRIPT)) $(wildcard $(1)/flags.mk)
	$$(call say,GUEST,$$@)
	@mkdir -p $$(@D)
	$$(Q)$$(TLD) $$(LDFLAGS) $$(LDFLAGS_$(2)) -T $(or $(LDSCRIPT_$(2)),$(GUEST_LDSCRIPT)) -o $$@.debug $$(filter %.o,$$^)
	$$(Q)$$(TOBJCOPY) -O $$(or $$(FORMAT_$(2)),elf32-i386) --strip-debug $$@.debug $$@
endef
$(foreach d,$(GUEST_DIRS),$(eval $(call guest,$(d),$(notdir $(d)))))

# Host objects, one archive per variant: $(1) variant, $(2) compiler.
define host-variant
$(O)/host/$(1)/obj/%.c.o: %.c $(O)/flags
	$$(call say,HOSTCC,$$< ($(1)))
	@mkdir -p $$(@D)
	$$(Q)$(2) $$(HOST_CFLAGS_$(1)) $$(DEPS) -c $$< -o $$@

$(O)/host/$(1)/libvarve.a: $(HOST_SRC:%=$(O)/host/$(1)/obj/%.o)
	$$(call say,AR,$$@)
	$$(Q)rm -f $$@ && ar rcsD $$@ $$^
endef
$(eval $(call host-variant,plain,$(HOSTCC)))
$(eval $(call host-variant,asan,$(HOSTCC)))
$(eval $(call host-variant,bench,$(HOSTCC)))
$(eval $(call host-variant,cpus,$(HOSTCC)))
$(eval $(call host-variant,cov,$(HOSTCC)))
$(eval $(call host-variant,tsan,$(HOSTCC)))
$(eval $(call host-variant,fuzz,$(FUZZCC)))

# One program from one file and the archive: $(1) variant, $(2) compiler, $(3) folder, $(4) libraries.
define host-program
$(O)/host/$(1)/%: $(O)/host/$(1)/obj/$(3)/%.c.o $(O)/host/$(1)/libvarve.a
	$$(call say,HOSTLD,$$@)
	$$(Q)$(2) $(subst -fsanitize=fuzzer-no-link,-fsanitize=fuzzer,$(HOST_CFLAGS_$(1))) -o $$@ $$< $$(filter %.a,$$^) $(4) $$(HOST_LIBS)
endef
$(eval $(call host-program,plain,$(HOSTCC),tests/unit,-lcmocka))
$(eval $(call host-program,asan,$(HOSTCC),tests/unit,-lcmocka))
$(eval $(call host-program,asan,$(HOSTCC),tests/model,))
$(eval $(call host-program,plain,$(HOSTCC),tests/model,))
$(eval $(call host-program,cpus,$(HOSTCC),tests/model,))
$(eval $(call host-program,cov,$(HOSTCC),tests/unit,-lcmocka))
$(eval $(call host-program,cov,$(HOSTCC),tests/model,))
$(eval $(call host-program,tsan,$(HOSTCC),tests/torture,))
$(eval $(call host-program,bench,$(HOSTCC),tests/bench,))
$(eval $(call host-program,fuzz,$(FUZZCC),tests/fuzz,-lZydis))
# It watches which frames are somebody's.
$(O)/host/fuzz/fuzz_exit: HOST_LIBS += -Wl,--wrap=frame_alloc

# The policy laboratory: with debug assertions for the tests, as in a release for use.
define host-lab
$(O)/host/$(1)/lab: $(LAB_SRC:%=$(O)/host/$(1)/obj/%.o) $(O)/host/$(1)/libvarve.a
	$$(call say,HOSTLD,$$@)
	$$(Q)$(HOSTCC) $$(HOST_CFLAGS_$(1)) -o $$@ $$^ $$(HOST_LIBS) -lz -lm
endef
$(eval $(call host-lab,plain))
$(eval $(call host-lab,bench))

host-tests: $(O)/host/plain/lab $(UNIT_plain) $(UNIT_asan) $(TORTURE) $(MODEL)
fuzzers: $(FUZZERS)
benchmarks: $(BENCHMARKS)

ifeq ($(filter clean help,$(MAKECMDGOALS)),)
-include $(shell find $(O) -name '*.d' 2>/dev/null)
endif
