/* Numbers shared by C and assembly. */
#pragma once

#define CPU_MAX       64
#define CPU_AREA_SIZE 16384 /* bytes: struct cpu, the #DF/NMI stack, the stack */
#define CPU_IST_TOP   4096

#define SEL_CODE64 0x08
#define SEL_DATA   0x10
#define SEL_CODE32 0x18
#define SEL_CODE16 0x20
#define SEL_DATA16 0x28
#define SEL_TSS    0x30

/* Pages below 64 KiB are not used as test memory; guests put real-mode code there. */
#define LOW_RESERVED 0x10000
#define AP_CODE      0x8000
#define MODES_CODE   0x9000
