// The ROMFS partition of the emulated board, in external RAM (see mpconfigboard.mk), with the manners of NOR flash: it
// is erased in blocks, which makes all bits 1, and writing makes them 0 only. It does what MicroPython 1.25 does on an
// STM32; after rom_ioctl(106, 0), which is for tests, what newer ones do: they erase from any block on, and tell the
// block's size.

#include "py/mperrno.h"
#include "py/objarray.h"
#include "py/runtime.h"
#include "extmod/vfs.h"

#define ROM_ADDRESS (0x60400000)
#define ROM_SIZE (0x900000)
#define ERASE_BLOCK (4096)
#define MIN_WRITE (4)
#define IOCTL_GET_MIN_PREPARE (6) // MP_VFS_ROM_IOCTL_GET_MIN_PREPARE where there is one
#define IOCTL_BE_NEWER (106)

static const MP_DEFINE_MEMORYVIEW_OBJ(rom_obj, 'B', 0, ROM_SIZE, (void *)ROM_ADDRESS);

static bool is_newer;

static mp_obj_t erase(mp_uint_t offset, mp_uint_t bytes) {
    if (offset > ROM_SIZE || bytes > ROM_SIZE - offset || offset % ERASE_BLOCK != 0) {
        return MP_OBJ_NEW_SMALL_INT(-MP_EINVAL);
    }
    memset((uint8_t *)ROM_ADDRESS + offset, 0xff, (bytes + ERASE_BLOCK - 1) / ERASE_BLOCK * ERASE_BLOCK);
    return MP_OBJ_NEW_SMALL_INT(MIN_WRITE);
}

static mp_obj_t write(mp_uint_t offset, mp_obj_t data) {
    mp_buffer_info_t buf;
    mp_get_buffer_raise(data, &buf, MP_BUFFER_READ);
    if (offset > ROM_SIZE || buf.len > ROM_SIZE - offset || (offset | buf.len) % MIN_WRITE != 0) {
        return MP_OBJ_NEW_SMALL_INT(-MP_EINVAL);
    }
    uint8_t *to = (uint8_t *)ROM_ADDRESS + offset;
    for (size_t i = 0; i < buf.len; ++i) {
        to[i] &= ((const uint8_t *)buf.buf)[i];
    }
    return MP_OBJ_NEW_SMALL_INT(0);
}

mp_obj_t mp_vfs_rom_ioctl(size_t n_args, const mp_obj_t *args) {
    mp_int_t cmd = mp_obj_get_int(args[0]);
    if (cmd == MP_VFS_ROM_IOCTL_GET_NUMBER_OF_SEGMENTS) {
        return MP_OBJ_NEW_SMALL_INT(1);
    }
    if (n_args < 2 || mp_obj_get_int(args[1]) != 0) {
        return MP_OBJ_NEW_SMALL_INT(-MP_EINVAL);
    }
    if (cmd == MP_VFS_ROM_IOCTL_GET_SEGMENT) {
        return MP_OBJ_FROM_PTR(&rom_obj);
    }
    if (cmd == MP_VFS_ROM_IOCTL_WRITE_PREPARE && n_args >= 3) {
        bool from_anywhere = is_newer && n_args == 4; // else a fourth argument is not looked at
        return from_anywhere ? erase(mp_obj_get_int(args[2]), mp_obj_get_int(args[3]))
                             : erase(0, mp_obj_get_int(args[2]));
    }
    if (cmd == MP_VFS_ROM_IOCTL_WRITE && n_args == 4) {
        return write(mp_obj_get_int(args[2]), args[3]);
    }
    if (cmd == IOCTL_BE_NEWER) {
        is_newer = true;
    }
    if (cmd == IOCTL_GET_MIN_PREPARE && is_newer) {
        return MP_OBJ_NEW_SMALL_INT(ERASE_BLOCK);
    }
    return MP_OBJ_NEW_SMALL_INT(cmd == MP_VFS_ROM_IOCTL_WRITE_COMPLETE || cmd == IOCTL_BE_NEWER ? 0 : -MP_EINVAL);
}
