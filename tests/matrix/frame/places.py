"""Where things are: the checkout, and the folder in it that holds everything which the matrix installs or writes."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
WORK = ROOT / ".work" / "matrix"
REQUIREMENTS = ROOT / "tests" / "requirements"
RESULTS = WORK / "results"


def plain_environment():
    """The caller's environment without what would steer a client: credentials, profiles, HTTP proxies, settings of s3veil."""
    away = ("AWS_", "S3VEIL_", "RCLONE_", "RESTIC_", "S3_")
    proxies = {"http_proxy", "https_proxy", "all_proxy"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(away) and name.lower() not in proxies}
    return kept | {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
