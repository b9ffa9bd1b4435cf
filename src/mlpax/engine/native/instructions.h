// Everything that is compiled for one instruction set.
#include "kernels.h"
#include "layers.h"
#include "losses.h"
#include "optimizers.h"
#include "epoch.h"
#undef NS
#undef L
#undef CMAX
