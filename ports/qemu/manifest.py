include("../../boards/MPS2_AN500/manifest.py")
include("../../modpatchnet/manifest.py")
module("filecam.py", base_path="../../modpatchnet")
module("filemic.py", base_path="../../modpatchnet")
