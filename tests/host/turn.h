/* Other threads go on: how whoever waits for one gives its turn away. */
#pragma once

/*
 * On a CPU that others want, too, a yield can cost a whole turn of theirs, which is some milliseconds; a thread that
 * sleeps for a moment goes on after that moment. So yields that take long are not repeated.
 */
void host_turn(void);
