# A blob in ROMFS is used in place, and only if it cannot be, because it is misaligned, copied. image.romfs holds
# grey.pnb and lies, with grey.pnb, in the current directory. For MicroPython only.
import gc

import vfs

import patchnet

with open("image.romfs", "rb") as f:
    image = f.read()
with open("grey.pnb", "rb") as f:
    blob_bytes = len(f.read())
odd = bytearray(len(image) + 1)
odd[1:] = image
vfs.mount(vfs.VfsRom(image), "/flash_rom")
vfs.mount(vfs.VfsRom(memoryview(odd)[1:]), "/odd_rom")

arena = bytearray(patchnet.Model("grey.pnb").ram)
results = []
for path in ("/flash_rom/grey.pnb", "/odd_rom/grey.pnb"):
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    m = patchnet.Model(path, arena)
    print(path, "copied" if gc.mem_alloc() - before >= blob_bytes else "in place")
    gc.enable()
    h, w, c = m.input_shape
    results.append(m.predict(bytes(i * 7 & 255 for i in range(h * w * c))))
    m = None
with open("/flash_rom/grey.pnb", "rb") as f:
    results.append(patchnet.Model(f, arena).predict(bytes(i * 7 & 255 for i in range(h * w * c))))
print(results[0] == results[1] == results[2])
try:
    patchnet.Model("/flash_rom/missing.pnb")
except OSError as e:
    print(e.errno)
vfs.umount("/flash_rom")
vfs.umount("/odd_rom")
