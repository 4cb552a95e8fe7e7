/* Faults of a vendor's half, to be planted in place of the sound one: does whoever looks at entries see them? */
#pragma once

enum planted {
	PLANTED_NONE,
	PLANTED_IRQ,     /* an interrupt is injected whether or not the guest could take it */
	PLANTED_CR0,     /* PE gets lost where the guest sets PG */
	PLANTED_FRAME,   /* with each frame of a fault another is forgotten */
	PLANTED_FOREIGN, /* a page of another guest is read in place of one's own */
	PLANTED_WHY,     /* the reason for which a VM was stopped is not kept */
	PLANTED_SHADOW,  /* an interrupt is injected behind STI or MOV SS */
};

/* Of a VM that was just made: hyper_create() has set `vendor` anew. The others of the list are their user's to plant. */
void planted_vendor(enum planted what);
