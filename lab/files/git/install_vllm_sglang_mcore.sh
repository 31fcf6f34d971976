#!/bin/bash
# Stand-in of the verl-provision lab for verl's own script of this name, which builds for hours with a GPU
# toolchain. It takes the same switches and installs nothing.
set -eu
USE_MEGATRON=${USE_MEGATRON:-1}
USE_SGLANG=${USE_SGLANG:-1}
echo "stand-in install_vllm_sglang_mcore.sh: USE_MEGATRON=$USE_MEGATRON USE_SGLANG=$USE_SGLANG, nothing to do"
