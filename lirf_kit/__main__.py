"""``python -m lirf_kit``."""

import sys

from lirf_kit.cli import main

sys.exit(main())
