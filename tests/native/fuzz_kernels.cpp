// Fuzz target of all kernels: every target against the scalar one, and that against strtod and std::to_chars; JSON
// against the same text as CSV.
//
// The first four bytes of an input choose the options, the rest is the text, and also the floats that are printed.
// Buffers are of the exact size, so that the sanitizer sees a byte too many. `make fuzz` builds it with libFuzzer;
// without it, the main below runs the files and folders' files given as arguments (so a corpus is replayed on any
// machine, also an emulated one), or N generated inputs (`-runs=N`).
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "find_lines.h"
#include "format_rows.h"
#include "isa.h"
#include "parse_json.h"
#include "reference_repr.h"

using namespace fastinfer;

namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "kernels disagree: %s\n", what);
  std::abort();
}

struct Reading {
  std::vector<float> values;
  Status status;
  CsvState state;
};

// Reads the body in calls of `room` values, at most `capacity` in all.
Reading read(const Kernels& kernels, const char* first, const char* last, const CsvOptions& options, std::size_t room,
             std::size_t capacity) {
  Reading reading{{}, {Code::output_full, 0}, {}};
  while (reading.status.code == Code::output_full && reading.values.size() < capacity) {
    std::unique_ptr<float[]> out(new float[room]);
    std::size_t written = 0;
    reading.status = kernels.parse_csv(first, last, options, reading.state, out.get(), room, written);
    require(written <= room, "more values than room");
    require(reading.status.position == reading.state.position, "position");
    require(written == room || reading.status.code != Code::output_full, "stopped before the output was full");
    reading.values.insert(reading.values.end(), out.get(), out.get() + written);
    if (room == 0) break;
  }
  return reading;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

void check_parse(const char* first, const char* last, const CsvOptions& options, std::size_t room,
                 std::size_t capacity) {
  const Kernels& scalar = *find_kernels("scalar");
  const Reading expected = read(scalar, first, last, options, capacity, 1);
  for (std::size_t index = 0; const Kernels* kernels = kernels_at(index); ++index) {
    for (const std::size_t pieces : {capacity, room}) {
      const Reading found = read(*kernels, first, last, options, pieces, pieces == capacity ? 1 : capacity);
      require(same_bits(found.values, expected.values) || pieces != capacity, "values");
      if (capacity != 0 && found.values.size() == expected.values.size()) {
        require(same_bits(found.values, expected.values), "values in pieces");
        require(found.state.cells == expected.state.cells && found.state.columns == expected.state.columns, "state");
        if (expected.status.code != Code::output_full) require(found.status.code == expected.status.code, "code");
        if (found.status.code == expected.status.code) {
          require(found.status.position == expected.status.position, "position of the status");
        }
      }
    }
  }
  if (options.comment != '\0' || options.has_missing) return;
  // The values again, by strtod on a copy of each field.
  std::string field;
  std::size_t taken = 0;
  const char* p = first;
  for (; p != last && taken < expected.values.size(); ++p) {
    field.clear();
    for (; p != last && *p != ',' && *p != '\n' && *p != '\r'; ++p) field += *p;
    while (!field.empty() && (field.back() == ' ' || field.back() == '\t')) field.pop_back();
    if (!field.empty() && field.find_first_not_of(" \t") != std::string::npos) {
      char* end;
      const float value = static_cast<float>(std::strtod(field.c_str(), &end));
      require(*end == '\0', "strtod reads less");
      const float found = expected.values[taken++];
      require(std::isnan(value) ? std::isnan(found) : std::memcmp(&value, &found, sizeof value) == 0, "strtod");
    }
    if (p == last) break;
  }
  require(taken == expected.values.size(), "count of values");
}

// JSON in calls of `room` values equals JSON in one, and its values are those of the same text with its brackets left
// out, read as one line of CSV. Only what CSV has as well is compared: no words but NaN and Infinity.
void check_json(const char* first, const char* last, std::size_t room) {
  JsonState state;
  const std::size_t capacity = static_cast<std::size_t>(last - first) / 2 + 1;
  std::unique_ptr<float[]> whole(new float[capacity]);
  std::size_t count = 0;
  const Status status = parse_json(first, last, state, whole.get(), capacity, count);
  require(status.code == Code::ok || status.code == Code::not_plain, "JSON: code");
  require(status.position == state.position && count <= capacity, "JSON: position");
  std::vector<float> found;
  JsonState pieces;
  for (Code code = Code::output_full; code == Code::output_full;) {
    std::unique_ptr<float[]> out(new float[room]);
    std::size_t written = 0;
    code = parse_json(first, last, pieces, out.get(), room, written).code;
    require(written <= room && (written == room || code != Code::output_full), "JSON: room");
    found.insert(found.end(), out.get(), out.get() + written);
    require(code == Code::output_full || code == status.code, "JSON: code in pieces");
  }
  require(pieces.position == state.position, "JSON: position in pieces");
  require(same_bits(found, std::vector<float>(whole.get(), whole.get() + count)), "JSON: values in pieces");
  if (status.code != Code::ok) return;
  std::size_t product = 1;
  for (std::size_t depth = 1; depth <= state.leaf; ++depth) product *= state.sizes[depth];
  require(product == count && count != 0, "JSON: sizes");
  std::string text;
  for (const char* p = first; p != last; ++p) {
    if (*p == 't' || *p == 'f') return;
    text += *p == '[' || *p == ']' || *p == '\n' || *p == '\r' ? ' ' : *p;
  }
  const Reading csv = read(*find_kernels("scalar"), text.data(), text.data() + text.size(), CsvOptions(), count, 1);
  require(csv.status.code == Code::ok && csv.values.size() == count, "JSON: count as CSV");
  for (std::size_t i = 0; i < count; ++i) {
    // An integer has no negative zero.
    const bool zeros = csv.values[i] == 0 && whole[i] == 0;
    require(zeros || same_bits({csv.values[i]}, {whole[i]}) || std::isnan(whole[i]), "JSON: values as CSV");
  }
}

// Lines are what parse_json reads of each, up to one that is not a row.
void check_json_lines(const char* first, const char* last, std::size_t row_values, std::size_t capacity) {
  std::unique_ptr<float[]> out(new float[capacity]), row(new float[row_values]);
  std::size_t written = 0, lines = 0;
  const Status status = parse_json_lines(first, last, row_values, 0, out.get(), capacity, written, lines);
  require(written <= capacity && written % row_values == 0, "JSON lines: written");
  require((status.position == static_cast<std::size_t>(last - first)) == (status.code == Code::ok) || first == last,
          "JSON lines: position");
  std::size_t taken = 0;
  const char* p = first;
  for (; lines != 0; --lines) {
    const char* end = p;
    while (end != last && *end != '\n') ++end;
    JsonState state;
    std::size_t count = 0;
    if (parse_json(p, end, state, row.get(), row_values, count).code == Code::ok) {
      require(count == row_values && taken + count <= written, "JSON lines: count");
      require(std::memcmp(row.get(), out.get() + taken, count * sizeof(float)) == 0, "JSON lines: values");
      taken += count;
    }
    p = end == last ? last : end + 1;
  }
  require(taken == written && p == first + status.position, "JSON lines: all");
}

void check_lines(const char* first, const char* last, std::size_t at) {
  const Kernels& scalar = *find_kernels("scalar");
  for (std::size_t index = 0; const Kernels* kernels = kernels_at(index); ++index) {
    require(kernels->count_lines(first, last) == scalar.count_lines(first, last), "count_lines");
    require(kernels->find_line_start(first, last, first + at) == scalar.find_line_start(first, last, first + at),
            "find_line_start");
  }
}

void check_format(const char* first, const char* last) {
  const std::size_t count = static_cast<std::size_t>(last - first) / sizeof(float);
  std::unique_ptr<float[]> values(new float[count]);
  if (count != 0) std::memcpy(values.get(), first, count * sizeof(float));
  std::string expected = "[", csv;
  for (std::size_t i = 0; i < count; ++i) {
    char text[64];
    const float size = std::fabs(values[i]);
    const std::string sign = std::signbit(values[i]) && !std::isnan(values[i]) ? "-" : "";
    const std::string digits = size == 0             ? "0.0"
                               : std::isfinite(size) ? std::string(text, reference_repr(size, text))
                                                     : "";
    expected += (i != 0 ? ", " : "") + sign + (std::isnan(size) ? "NaN" : std::isinf(size) ? "Infinity" : digits);
    csv += (i != 0 ? "," : "") + sign + (std::isnan(size) ? "nan" : std::isinf(size) ? "inf" : digits);
  }
  expected += "]";
  csv += "\n";
  for (std::size_t index = 0; const Kernels* kernels = kernels_at(index); ++index) {
    const std::size_t bound = count * kValueBound + 8;
    std::unique_ptr<char[]> out(new char[bound]);
    require(std::string(out.get(), kernels->format_json_rows(values.get(), 1, count, out.get())) == expected, "JSON");
    require(std::string(out.get(), kernels->format_csv_rows(values.get(), 1, count, out.get())) == csv, "CSV");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 4) return 0;
  CsvOptions options;
  if (data[0] & 1) options.comment = '#';
  if (data[0] & 2) options.has_missing = true, options.missing = -1;
  const std::size_t room = 1 + data[1] % 40u, capacity = data[2] & 1 ? size : data[3];
  const std::size_t body_size = size - 4;
  std::unique_ptr<char[]> body(new char[body_size]);
  if (body_size != 0) std::memcpy(body.get(), data + 4, body_size);
  check_parse(body.get(), body.get() + body_size, options, room, capacity);
  check_json(body.get(), body.get() + body_size, room);
  check_json_lines(body.get(), body.get() + body_size, 1 + data[3] % 3u, data[2] % 20u);
  check_lines(body.get(), body.get() + body_size, body_size == 0 ? 0 : data[3] % body_size);
  check_format(body.get(), body.get() + body_size);
  return 0;
}

#ifdef FASTINFER_STANDALONE
namespace {

// Text made of what the fast paths know and of what breaks them.
std::vector<std::uint8_t> generate(std::uint64_t& seed) {
  static const char* const kPieces[] = {
      "0,",
      "1,",
      "255,",
      "1000,",
      "0.000000E+00,",
      "9.960785E-01,",
      "0.000000E+00\n",
      "\n",
      "\r",
      "\r\n",
      " ",
      "\t",
      ",",
      "x",
      "#",
      "0.5,",
      "1e5,",
      "-",
      "+",
      ".",
      "0.49803921580314636,",
      "0.0,",
      "nan,",
      "inf,",
      "1e400,",
      "\xEF\xBB\xBF",
      "0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,",
      "0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,",
      "0.000000E+00,0.000000E+00,0.000000E+00,0.000000E+00,0.000000E+00,0.000000E+00,0.000000E+00,0.000000E+00,",
      "1,2,3\n",
      "1,2,3\r\n",
      "4.940656E-324,",
      "1.175494e-38,",
      "3.4028235677973366e+38,",
      "0.00012345679104328156,",
      "123456789012345678901234567890,",
      "16777217,",
      "1.234567E+03,",
      "7.654321E-05,",
      "[",
      "]",
      "],[",
      "],\n [",
      "[[",
      "]]",
      "[1,2]\n",
      "[[0.5, 12345678.12345678],",
      "true,",
      "null,",
      "\0"};
  const auto random = [&seed]() noexcept {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return seed >> 11;
  };
  std::vector<std::uint8_t> input;
  for (int i = 0; i < 4; ++i) input.push_back(static_cast<std::uint8_t>(random()));
  const std::uint64_t kind = random() % 8;
  for (std::uint64_t count = random() % 100; count != 0; --count) {
    std::string piece = kPieces[random() % (sizeof kPieces / sizeof *kPieces)];
    char text[64];
    switch (kind) {
      case 0:
        piece = std::to_string(random() % (random() % 4 != 0 ? 256 : 100000)) + ",";
        break;
      case 1:
        std::snprintf(text, sizeof text, "%.6E,", static_cast<double>(random() % 1000000) * 1e-6), piece = text;
        break;
      case 2:
        std::snprintf(text, sizeof text, "%.17g,", static_cast<double>(random()) * 0x1p-53), piece = text;
        break;
      case 3:  // rows of a rectangle
        std::snprintf(text, sizeof text, "[%d, %.9g],", static_cast<int>(random() % 1000),
                      static_cast<double>(random()) * 0x1p-53);
        piece = text;
        break;
      default:
        break;
    }
    if (random() % 64 == 0) piece = kPieces[random() % (sizeof kPieces / sizeof *kPieces)];
    input.insert(input.end(), piece.begin(), piece.end());
  }
  if (kind == 3 && random() % 2 == 0) {
    input.insert(input.begin() + 4, '[');
    if (input.back() == ',') input.back() = ']';
  }
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t inputs = 0;
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], "-runs=", 6) == 0) {
      std::uint64_t seed = 88172645463325252;
      for (long runs = std::atol(argv[i] + 6); runs > 0; --runs, ++inputs) {
        const std::vector<std::uint8_t> input = generate(seed);
        LLVMFuzzerTestOneInput(input.data(), input.size());
      }
      continue;
    }
    std::FILE* file = std::fopen(argv[i], "rb");
    if (file == nullptr) continue;
    std::vector<std::uint8_t> input;
    for (int byte; (byte = std::fgetc(file)) != EOF;) input.push_back(static_cast<std::uint8_t>(byte));
    std::fclose(file);
    LLVMFuzzerTestOneInput(input.data(), input.size());
    ++inputs;
  }
  std::printf("%zu inputs, targets:", inputs);
  for (std::size_t index = 0; const Kernels* kernels = kernels_at(index); ++index) std::printf(" %s", kernels->name);
  std::printf("\n");
  return 0;
}
#endif
