// Include last: what follows in the file is compiled for AVX2, BMI1/2 and POPCNT, whatever the build's own target is.
//
// Functions of headers must not be compiled for AVX2: the linker keeps one copy of an inline function for all files,
// and a CPU without AVX2 would run it. Hence a pragma after the includes instead of a compiler switch for the file.
#pragma once

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2,popcnt"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,popcnt")
#endif
