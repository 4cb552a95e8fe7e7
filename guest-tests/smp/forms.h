/* APIC registers through many instructions, for a hypervisor that has to decode them. */
#pragma once

/* FAILs the guest where one does the wrong thing. Uses the timer's LVT entry, which stays masked. */
void forms_check(void);
