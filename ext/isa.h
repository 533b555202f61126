/* The instruction sets that kernels are compiled for, and which of them a machine can run.
 *
 * each_isa.h compiles a file of kernels for each of them. Compilers and machines that the guards do not know get the
 * baseline, which is plain C. All variants must give the same bits: contraction into fused multiply-add is off. */

#ifndef TF1BN_ISA_H
#define TF1BN_ISA_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__)
#define INLINED inline __attribute__((always_inline))
#define RESTRICT __restrict__
#ifdef __clang__
#define UNROLLED _Pragma("unroll 16")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif
#define PREFETCH(address) __builtin_prefetch((const void *)(address), 0, 2)
#else
#define INLINED inline
#define RESTRICT __restrict
#define UNROLLED
#define PREFETCH(address) ((void)(address))
#endif

#if defined(__GNUC__) && defined(__x86_64__)
#define TF1BN_X86 1
#include <cpuid.h>
#include <immintrin.h>
#define PRAGMA(text) _Pragma(#text)
#define AVX2 "avx2,f16c,fma"
#if defined(__clang__)
#define AVX512 "avx2,f16c,fma,avx512f,avx512vl,avx512dq,avx512bw"
#define TARGET_BEGIN(features) PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define TARGET_END PRAGMA(clang attribute pop)
#else
#define AVX512 "avx2,f16c,fma,avx512f,avx512vl,avx512dq,avx512bw,prefer-vector-width=512"
#define TARGET_BEGIN(features) PRAGMA(GCC push_options) PRAGMA(GCC target(features))
#define TARGET_END PRAGMA(GCC pop_options)
#endif
#endif

enum { MAX_VARIANTS = 3 };
enum { BASELINE_ISA, AVX2_ISA, AVX512_ISA }; /* each has all of those before it */

/* The best instruction set that this machine can run. Slow in virtual machines, where asking the processor traps. */
static inline int best_isa(void) {
#ifdef TF1BN_X86
    unsigned a, b, c, d;
    __builtin_cpu_init();
    /* Not every compiler's builtin knows f16c. That the system saves the registers follows from AVX2. */
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__get_cpuid(1, &a, &b, &c, &d) ||
        !(c & bit_F16C))
        return BASELINE_ISA;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512vl") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512bw"))
        return AVX2_ISA;
    return AVX512_ISA;
#else
    return BASELINE_ISA;
#endif
}

#endif
