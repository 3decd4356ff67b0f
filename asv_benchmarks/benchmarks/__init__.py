"""asv benchmarks, one file a room. Kernels are warmed in `setup`; first calls are measured in `startup`."""
