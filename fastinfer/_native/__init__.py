"""The only modules that call C++ (csrc/)."""
