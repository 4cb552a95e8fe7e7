/* What spatch has to know to parse our sources: it reads no headers. */
#define must_check
#define noreturn_fn
#define unlikely(x) (x)
#define likely(x)   (x)
#define aligned_to(n)
