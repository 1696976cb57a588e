# The unix port with only what patchnet and its tests use, so that it needs no submodule and no library.
MICROPY_PY_BTREE = 0
MICROPY_PY_FFI = 0
MICROPY_PY_SSL = 0
MICROPY_SSL_MBEDTLS = 0
MICROPY_PY_THREAD = 0
MICROPY_PY_BLUETOOTH = 0

FROZEN_MANIFEST ?= $(VARIANT_DIR)/manifest.py

# The heap under AddressSanitizer (poison.c): py/gc.c's functions are called through those that poison what is free.
ifneq ($(findstring address,$(CFLAGS_EXTRA)),)
$(BUILD)/py/gc.o: CFLAGS += -fno-sanitize=address -include $(VARIANT_DIR)/poison.h \
	$(foreach f,gc_init gc_collect_end gc_alloc gc_free gc_realloc,-D$f=plain_$f)
endif
