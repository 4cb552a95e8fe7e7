/* What the profile of reclaim (lib/profile.h) has found: to the console and to COM2. */
#pragma once

/* Monitor thread, no lock held. */
void profile_view(void);
