"""Studio as a whole: its operations, and what becomes of it between two starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainmaster.embedded.faults import Faults
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.studio import configurations
from trainmaster.embedded.sagemaker.studio.apps import Apps
from trainmaster.embedded.sagemaker.studio.domains import Domains
from trainmaster.embedded.sagemaker.studio.entrance import Entrance
from trainmaster.embedded.sagemaker.studio.images import Images
from trainmaster.embedded.sagemaker.studio.jupyterlab import Labs
from trainmaster.embedded.sagemaker.studio.parts import Parts
from trainmaster.embedded.sagemaker.studio.settling import Settling
from trainmaster.embedded.sagemaker.studio.spaces import Spaces
from trainmaster.embedded.sagemaker.studio.watching import Watch

if TYPE_CHECKING:
    from trainmaster.embedded.sagemaker.api import Operation


class StudioService:
    """With `real_labs` a JupyterLab app is a JupyterLab; without, apps run in name only."""

    def __init__(self, account: Account, faults: Faults, *, real_labs: bool = True) -> None:
        self._account, self._settling = account, Settling()
        parts = Parts(account, self._settling)
        self._images = Images(account, self._settling)
        self._domains, self._spaces = Domains(parts), Spaces(parts)
        self._apps = Apps(parts, self._spaces, Labs(account, real=real_labs), faults)
        self.watch = Watch(account, parts, self._spaces, self._apps)
        """Ends what is idle."""
        self.entrance = Entrance(parts, self._apps)
        """Answers presigned addresses."""

    @property
    def operations(self) -> Mapping[str, Operation]:
        parts = (self._domains, self._spaces, self._apps, self._images, self.entrance)
        table = {name: operation for part in parts for name, operation in part.operations.items()}
        return {**table, **configurations.operations(self._account)}

    def recover(self) -> None:
        """Take up what an earlier process left behind."""
        self._images.recover()
        self._domains.recover()
        self._spaces.recover()
        self._apps.recover()
        self.watch.start()

    def close(self) -> None:
        """End what runs; the records stay for the next `recover`."""
        self.watch.close()
        self._apps.close()
        self._settling.close()
