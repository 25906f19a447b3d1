// Ends what target_avx2.h began. It has no include guard, because each use ends one region.
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
