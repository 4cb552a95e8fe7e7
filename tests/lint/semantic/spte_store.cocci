// Entries of second-level tables change in hv/mmu/spte.c only: there, by exchanges (I6, I8).
@@
expression E, V;
expression list rest;
identifier op = {a64_store, a64_store_release, a64_store_full, a64_xchg, a64_cas, a64_fetch_or, a64_fetch_and, a64_fetch_add};
@@
(
* op(E->at, rest)
|
* op(E.at, rest)
|
* E->at->raw = V
|
* E.at->raw = V
)

@@
expression T, I;
expression list rest;
identifier op = {a64_store, a64_store_release, a64_store_full, a64_xchg, a64_cas, a64_fetch_or, a64_fetch_and, a64_fetch_add};
@@
* op(&T[I], rest)
