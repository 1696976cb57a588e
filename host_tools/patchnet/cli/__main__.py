"""`python -m patchnet.cli` is the command `patchnet`."""

import sys

from . import main

sys.exit(main())
