// Ends what target_avx2.h began. No include guard: each use is one end.
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
