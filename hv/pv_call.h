/*
 * The interface between a guest that knows it is one and the hypervisor: its memory. Numbers only: the guests' side
 * includes it too (guest-tests/lib/pv.h).
 *
 * A 32-bit IN from PV_PORT, if the VM's scenario says `pv = yes`; if not, and for any other access to the port, nobody
 * is there and it reads as all ones, as PV_HELLO finds out.
 *
 *   in    EAX      command
 *         RBX RCX  its arguments
 *   out   EAX      PV_OK or why nothing was done
 *         RBX RCX RSI RDI R8 R9 R10 R11   results 0 .. 7; unchanged unless OK; what a command does not name is 0
 *
 * "Range" means: argument 0 a guest frame number, argument 1 a number of pages, 1 to PV_PAGES_MAX; all of them are RAM
 * of the guest, or it is PV_RANGE. No argument is an address: a call touches no page of the guest but to take it away.
 * It returns when all of it is done. Any CPU of the guest may call, several at a time; what two of them say about one
 * page at the same time happens in some order.
 *
 * No vCPU is interrupted for any of this: a guest that wants to follow the host looks at PV_BALLOON a few times a
 * second. One that has not looked for ten seconds is not asked any more.
 */
#pragma once

#define PV_PORT      0x5641
#define PV_VERSION   1
#define PV_PAGES_MAX 1024

/* Result 0: PV_VERSION; 1: PV_PAGES_MAX; 2: pages of RAM that the guest has. */
#define PV_HELLO 0
/*
 * The balloon. Result 0: pages that the host would like to have in it; 1: pages that are in it; 2: 1 if some VM will be
 * stopped for want of memory unless guests lend some in the next few looks, else 0.
 */
#define PV_BALLOON 1
/*
 * Puts a range into the balloon. The pages lose what they hold. Result 0: how many were not inside before. A page that
 * is touched inside, by the guest or by a device for it, comes out and is zero; whoever does that and not RETURN first
 * holds on to what it lent.
 */
#define PV_GIVE 2
/* Takes a range out of the balloon: its pages are zero when they are touched. Result 0: how many were inside. */
#define PV_RETURN 3
/*
 * The guest needs nothing of what a range holds: it is dropped now and never packed. The pages may be used at any time,
 * without a call, and are zero then. Result 0: how many had anything to drop.
 */
#define PV_REPORT_FREE 4
/*
 * How the guest itself sees it. Argument 0: pages that it has free and could lend; argument 1: permille of its time
 * that its programs wait for memory, 0 to 1000. Holds until it says otherwise.
 */
#define PV_STATE 5
/*
 * The guest's working set as the host sees it. Results 0 .. 3: pages in the youngest generation, the one before, ...;
 * 4: pages packed away; 5: pages that nothing is kept of (never touched, free, in the balloon); 6: ms since
 * the youngest but one generation began, which is how long the pages of 0 and 1 at least were touched ago at most; 7: ms
 * since the oldest began.
 */
#define PV_WORKING_SET 6

/*
 * Locality. Argument 0: a frame number, argument 1: that of the page that comes behind it in the addresses of some program,
 * or is used along with it for another reason. Such pairs, one behind the other, make groups of up to 64 pages; when
 * one page of a group is found in use, the host looks at the others. A wrong hint costs the host some time. PV_FULL
 * if there is no room for it: a guest whose order has changed forgets all of it and says it anew.
 */
#define PV_TOGETHER 7
#define PV_FORGET   8

/* What EAX says. */
#define PV_OK      0
#define PV_UNKNOWN 1 /* no such command */
#define PV_RANGE   2 /* an argument out of bounds */
#define PV_FULL    3 /* no room */
