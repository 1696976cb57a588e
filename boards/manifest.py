# What MicroPython's board of the same name freezes, and patchnet. There is no filecam here: a board has a camera.
include("$(PATCHNET_BASE)")
include("../modpatchnet/manifest.py")
