// The emulator as a program: the kernels, and what runs them.
#define REPAINT_EMULATOR
#include "kernels.cu"

int main() { return run_emulator<Layer>(); }
