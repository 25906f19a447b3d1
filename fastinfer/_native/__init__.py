"""The doors to csrc/: the only modules that call C++."""
