// The kernels of the targets other than scalar; each equals the function of the same name one namespace up.
#pragma once

#include <cstddef>

#include "parse_csv.h"

namespace fastinfer::avx2 {

Status parse_csv(const char* first, const char* last, const CsvOptions& options, CsvState& state, float* out,
                 std::size_t capacity, std::size_t& written) noexcept;

std::size_t count_lines(const char* first, const char* last) noexcept;
const char* find_line_start(const char* first, const char* last, const char* from) noexcept;

}  // namespace fastinfer::avx2

namespace fastinfer::neon {

Status parse_csv(const char* first, const char* last, const CsvOptions& options, CsvState& state, float* out,
                 std::size_t capacity, std::size_t& written) noexcept;

}  // namespace fastinfer::neon
