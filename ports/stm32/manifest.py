# What the board freezes by default, and patchnet. There is no filecam here: a board has a camera.
include("$(PORT_DIR)/boards/manifest.py")
include("../../modpatchnet/manifest.py")
