/* Opcode maps: Intel SDM vol. 2, tables; the AMD-only opcodes from AMD APM vol. 3. */
#include "hv/decode_map.h"

/* clang-format off */
#define o  0
#define M  MAP_MODRM
#define L  (MAP_MODRM | MAP_LOCK)
#define B  IMM_B
#define W  IMM_W
#define Z  IMM_Z
#define V  IMM_V
#define J  IMM_J
#define A  IMM_MOFFS
#define E  IMM_W_B
#define F  (IMM_FAR | MAP_NO_64)
#define N  MAP_NO_64
#define X  MAP_INVALID
#define MB (M | B)
#define MZ (M | Z)
#define LB (L | B)
#define LZ (L | Z)
#define NB (N | B)
#define NL (N | LB)

/* Prefixes, the escape 0F, and in long mode REX, VEX and EVEX never get here. */
const u8 decode_map_one[256] = {
/*        0  1  2  3  4  5  6  7   8  9  a  b  c  d  e  f */
/* 00 */  L, L, M, M, B, Z, N, N,  L, L, M, M, B, Z, N, X,
/* 10 */  L, L, M, M, B, Z, N, N,  L, L, M, M, B, Z, N, N,
/* 20 */  L, L, M, M, B, Z, X, N,  L, L, M, M, B, Z, X, N,
/* 30 */  L, L, M, M, B, Z, X, N,  M, M, M, M, B, Z, X, N,
/* 40 */  o, o, o, o, o, o, o, o,  o, o, o, o, o, o, o, o,
/* 50 */  o, o, o, o, o, o, o, o,  o, o, o, o, o, o, o, o,
/* 60 */  N, N, M, M, X, X, X, X,  Z, MZ,B, MB,o, o, o, o,
/* 70 */  B, B, B, B, B, B, B, B,  B, B, B, B, B, B, B, B,
/* 80 */  LB,LZ,NL,LB,M, M, L, L,  M, M, M, M, M, M, M, M,
/* 90 */  o, o, o, o, o, o, o, o,  o, o, F, o, o, o, o, o,
/* a0 */  A, A, A, A, o, o, o, o,  B, Z, o, o, o, o, o, o,
/* b0 */  B, B, B, B, B, B, B, B,  V, V, V, V, V, V, V, V,
/* c0 */  MB,MB,W, o, M, M, MB,MZ, E, o, W, o, o, B, N, o,
/* d0 */  M, M, M, M, NB,NB,N, o,  M, M, M, M, M, M, M, M,
/* e0 */  B, B, B, B, B, B, B, B,  J, J, F, B, o, o, o, o,
/* f0 */  X, o, X, X, o, o, L, L,  o, o, o, o, o, o, L, L,
};

/* Behind 0F; the escapes 38 and 3A never get here. */
const u8 decode_map_0f[256] = {
/*        0  1  2  3  4  5  6  7   8  9  a  b  c  d  e  f */
/* 00 */  M, M, M, M, X, o, o, o,  o, o, X, o, X, M, o, MB,
/* 10 */  M, M, M, M, M, M, M, M,  M, M, M, M, M, M, M, M,
/* 20 */  M, M, M, M, X, X, X, X,  M, M, M, M, M, M, M, M,
/* 30 */  o, o, o, o, o, o, X, o,  X, X, X, X, X, X, X, X,
/* 40 */  M, M, M, M, M, M, M, M,  M, M, M, M, M, M, M, M,
/* 50 */  M, M, M, M, M, M, M, M,  M, M, M, M, M, M, M, M,
/* 60 */  M, M, M, M, M, M, M, M,  M, M, M, M, M, M, M, M,
/* 70 */  MB,MB,MB,MB,M, M, M, o,  M, M, X, X, M, M, M, M,
/* 80 */  J, J, J, J, J, J, J, J,  J, J, J, J, J, J, J, J,
/* 90 */  M, M, M, M, M, M, M, M,  M, M, M, M, M, M, M, M,
/* a0 */  o, o, o, M, MB,M, M, M,  o, o, o, L, MB,M, M, M,
/* b0 */  L, L, M, L, M, M, M, M,  M, M, LB,L, M, M, M, M,
/* c0 */  L, L, MB,M, MB,MB,MB,L,  o, o, o, o, o, o, o, o,
/* d0 */  M, M, M, M, M, M, M, M,  M, M, M, M, M, M, M, M,
/* e0 */  M, M, M, M, M, M, M, M,  M, M, M, M, M, M, M, M,
/* f0 */  M, M, M, M, M, M, M, M,  M, M, M, M, M, M, M, M,
};
/* clang-format on */
