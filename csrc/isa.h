// CPU targets: every kernel as one table of functions for each instruction set that this build has.
//
// The caller chooses a table once and keeps it: nothing in csrc/ holds state. All tables give the same
// bytes; `scalar` is the reference that the others are tested against.
#pragma once

#include <cstddef>

#include "parse_csv.h"

namespace fastinfer {

using ParseCsv = Status (*)(const char* first, const char* last, const CsvOptions& options, CsvState& state, float* out,
                            std::size_t capacity, std::size_t& written) noexcept;
using FormatRows = char* (*)(const float* values, std::size_t rows, std::size_t values_per_row, char* out) noexcept;
using CountLines = std::size_t (*)(const char* first, const char* last) noexcept;
using FindLineStart = const char* (*)(const char* first, const char* last, const char* from) noexcept;

struct Kernels {
  const char* name;  // "scalar", "avx2", "neon"
  ParseCsv parse_csv;
  FormatRows format_json_rows;
  FormatRows format_csv_rows;
  CountLines count_lines;
  FindLineStart find_line_start;
};

// The targets that this build has and this CPU runs, best first; the last one is scalar. `index` past the end: nullptr.
const Kernels* kernels_at(std::size_t index) noexcept;

// The target of that name, or nullptr if it is unknown or this CPU cannot run it.
const Kernels* find_kernels(const char* name) noexcept;

}  // namespace fastinfer
