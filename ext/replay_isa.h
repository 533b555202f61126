/* The orders of summation for one instruction set, of both types; included once for each, with ISA(x) to name it. */

#define T float
#ifdef __has_builtin
#if __has_builtin(__builtin_shufflevector) /* GCC from 12 on, clang */
#define SINGLE
#endif
#endif
#define INTEGER int32_t
#define NAMED(x) ISA(x##_float)
#include "replay_pass.h"
#undef T
#undef SINGLE
#undef INTEGER
#undef NAMED
#define T double
#define INTEGER int64_t
#define NAMED(x) ISA(x##_double)
#include "replay_pass.h"
#undef T
#undef INTEGER
#undef NAMED

static const Kernels ISA(kernels) = {ISA_NAME, ISA(take_float), ISA(take_double)};
