"""Read by JupyterLab (`launch/jupyter.sh`): the token comes from a file, and loopback is all."""

import os
from pathlib import Path

c = get_config()  # type: ignore[name-defined]  # noqa: F821  (JupyterLab provides it)
token = Path(os.environ.pop("JUPYTER_TOKEN_FILE")).read_text(encoding="utf-8").strip()
c.IdentityProvider.token = token
c.PasswordIdentityProvider.allow_password_change = False
c.ServerApp.allow_remote_access = False
c.ServerApp.local_hostnames = ["localhost"]
c.LabApp.collaborative = False
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
# Kernels are talked to through sockets in a folder of the user's, not through TCP ports.
c.KernelManager.transport = "ipc"
