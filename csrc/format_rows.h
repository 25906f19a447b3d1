// float32 rows to text: the contract.
//
// A value is printed as Python's repr of the double that it widens to: the shortest digits that read back as that
// double, laid out as Python does (0.0001, 1e-05, 1e+16, 1.0). JSON is what json.dumps(array.tolist()) gives: ", "
// between values, NaN, Infinity, -Infinity. CSV is what numpy.savetxt(fmt="%s", delimiter=",") gives: nan, inf, -inf, a
// newline after every row.
#pragma once

#include <cstddef>

namespace fastinfer {

// Bytes that one value may need, with its separator; format functions may write anywhere in the memory they are given.
inline constexpr std::size_t kValueBound = 32;

// Writes `count` values with ", " between them (no brackets) and returns the end. Needs count * kValueBound bytes at
// out.
char* format_json_values(const float* values, std::size_t count, char* out) noexcept;

// Writes rows as JSON arrays with ", " between them: `[a, b], [c, d]`, without the outermost brackets, so that an
// output can be put together from several batches. Needs rows * (values_per_row * kValueBound + 8) bytes at out.
char* format_json_rows(const float* values, std::size_t rows, std::size_t values_per_row, char* out) noexcept;

// Writes rows as CSV lines. Same room.
char* format_csv_rows(const float* values, std::size_t rows, std::size_t values_per_row, char* out) noexcept;

}  // namespace fastinfer
