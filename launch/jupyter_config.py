"""Read by JupyterLab (`launch/jupyter.sh`): the token comes from a file, and loopback is all."""

import os
from pathlib import Path
from typing import Any


def without_news(_handler: object, page: dict[str, Any]) -> dict[str, Any]:
    """Leave out what asks whether to fetch Jupyter's news, each time in a new home."""
    news = "@jupyterlab/apputils-extension:announcements"
    return page | {"disabledExtensions": [*page["disabledExtensions"], news]}


c = get_config()  # type: ignore[name-defined]  # noqa: F821  (JupyterLab provides it)
token = Path(os.environ.pop("JUPYTER_TOKEN_FILE")).read_text(encoding="utf-8").strip()
c.IdentityProvider.token = token
c.PasswordIdentityProvider.allow_password_change = False
c.ServerApp.allow_remote_access = False
c.ServerApp.local_hostnames = ["localhost"]
c.LabApp.log_level = "WARN"
c.LabApp.collaborative = False
c.LabApp.news_url = None
c.ServerApp.tornado_settings = {"page_config_hook": without_news}
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
# Kernels are talked to through sockets in a folder of the user's, not through TCP ports.
c.KernelManager.transport = "ipc"
