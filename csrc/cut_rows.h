// Rows of CSV, cut at their commas: ranges of cells are copied as they are. Quotes have no meaning.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastinfer {

// Cells [start, stop) of a row.
struct CellRange {
  std::size_t start;
  std::size_t stop;
};

// Finds the cells of the line that begins at `first`: the offsets of its commas, as many as there is room for in
// `commas`; `cells` is how many cells it has, a blank line (spaces, tabs) none. Returns where the line ends: at its LF
// or CR, or `last`.
const char* index_line(const char* first, const char* last, std::uint32_t* commas, std::size_t room,
                       std::size_t& cells) noexcept;

// The line after the one that ends at `end`.
const char* next_line(const char* end, const char* last) noexcept;

// How many of a line's commas must be known to copy ranges of its cells.
std::size_t needed_commas(const CellRange* ranges, std::size_t count, std::size_t cells) noexcept;

// At most so many bytes does copy_cells() write.
std::size_t size_of_cells(const char* line, const char* end, const std::uint32_t* commas, std::size_t cells,
                          const CellRange* ranges, std::size_t count) noexcept;

// Copies ranges of a line's cells, with a comma between two of them. `end` is where the line ends. Returns the end of
// the copy.
char* copy_cells(const char* line, const char* end, const std::uint32_t* commas, std::size_t cells,
                 const CellRange* ranges, std::size_t count, char* out) noexcept;

}  // namespace fastinfer
