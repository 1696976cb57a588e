# The unix port with only what patchnet and its tests use, so that it needs no submodule and no library.
MICROPY_PY_BTREE = 0
MICROPY_PY_FFI = 0
MICROPY_PY_SSL = 0
MICROPY_SSL_MBEDTLS = 0
MICROPY_PY_THREAD = 0
MICROPY_PY_BLUETOOTH = 0

FROZEN_MANIFEST ?= $(VARIANT_DIR)/manifest.py
