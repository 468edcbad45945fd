"""Everything of the embedded AWS that runs in this process: all but S3."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import waitress
from botocore.exceptions import BotoCoreError, ClientError
from werkzeug.wrappers import Request

from trainmaster.embedded import policies
from trainmaster.embedded.builds import Builds
from trainmaster.embedded.calls import Call
from trainmaster.embedded.control import Control
from trainmaster.embedded.faults import Faults
from trainmaster.embedded.front import INVOCATIONS, Front
from trainmaster.embedded.instances import Instances
from trainmaster.embedded.journal import Journal
from trainmaster.embedded.other_services import OtherServices
from trainmaster.embedded.permissions.role_sessions import RoleSessions
from trainmaster.embedded.public_api.service import PublicApis
from trainmaster.embedded.sagemaker import experiments, model_registry, namespaces, resources, tags
from trainmaster.embedded.sagemaker.account import Account
from trainmaster.embedded.sagemaker.api import SageMakerApi
from trainmaster.embedded.sagemaker.records import Records
from trainmaster.embedded.sagemaker.serving.service import EndpointService
from trainmaster.embedded.sagemaker.studio.service import StudioService
from trainmaster.embedded.sagemaker.training.service import TrainingService
from trainmaster.embedded.sagemaker.wire import AwsError
from trainmaster.embedded.service_quotas import Quotas, ServiceQuotasApi
from trainmaster.embedded.signatures import Signatures
from trainmaster.embedded.state import Credentials, State
from trainmaster.embedded.supabase.service import Supabase
from trainmaster.embedded.supabase.store import LARGEST_OBJECT
from trainmaster.embedded.supabase.tokens import Keys
from trainmaster.embedded.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

THREADS = INVOCATIONS + 32
_PORTS = ("front", "inside", "supabase")
_ELSEWHERE = (
    "DATABASE_URL",
    "TRAINMASTER_DATASET_BUCKET",
    "TRAINMASTER_S3_ENCRYPTION",
    "TRAINMASTER_S3_KMS_KEY_ID",
    "TRAINMASTER_AWS_CREDENTIALS_BLOCK",
    "SUPABASE_S3_ACCESS_KEY_ID",
    "SUPABASE_S3_SECRET_ACCESS_KEY",
    "TRAINMASTER_HTTP_TOKEN_ISSUER",
    "TRAINMASTER_HTTP_JWKS_URL",
)
"""What a shell may hold for the real services, and would mix them with these. Empty is as if unset."""
# Its default bucket the SageMaker SDK would otherwise ask of AWS itself, at an address it has written into its code.
_SDK_CONFIG = """\
SchemaVersion: '1.0'
SageMaker:
  PythonSDK:
    Modules:
      TelemetryOptOut: true
      Session:
        DefaultS3Bucket: {bucket}
"""


class Host:
    """Serves from the moment it is made, but for jobs, endpoints and what else needs S3: their calls wait for `recover`."""

    def __init__(
        self,
        state: State,
        credentials: Credentials,
        s3_url: str,
        *,
        port: int | None,
        supabase_port: int | None,
        region: str,
        stop_grace: float,
        real_labs: bool = True,
    ) -> None:
        folder = state.folder.resolve()
        _log_to(folder / "embedded.log")
        listening = state.listening(_PORTS, {"front": port, "supabase": supabase_port})
        ports = {name: one.getsockname()[1] for name, one in listening.items()}
        self._records = Records(folder / "sagemaker.db")
        self.account = Account(
            state=folder,
            records=self._records,
            endpoint_url=f"http://127.0.0.1:{ports['front']}",
            inside_url=f"http://127.0.0.1:{ports['inside']}",
            s3_endpoint_url=s3_url,
            access_key_id=credentials.access_key_id,
            secret_access_key=credentials.secret_access_key,
            region=region,
            stop_grace=stop_grace,
        )
        others, signatures = OtherServices(), Signatures(self.account)
        self._inside = _Server(_Inside(others, signatures), listening["inside"], threads=8)
        policies.ensure_execution_role(self.account)
        journal = Journal(folder / "roles.jsonl")
        journal.replay(others)  # which may change that role, or have deleted it
        self._role_arn = policies.ensure_execution_role(self.account)
        faults, tally, self._recovered = Faults(), Tally(), threading.Event()
        quotas = Quotas(folder)
        role_sessions = RoleSessions(self.account)
        isolation = namespaces.detect()
        self.isolation = isolation.sentence
        """How jobs are kept apart from this machine."""
        self._training = TrainingService(self.account, faults, isolation, quotas.value)
        self._endpoints = EndpointService(self.account, faults, isolation)
        self._studio = StudioService(self.account, faults, real_labs=real_labs)
        self._public_apis = PublicApis(self.account, others)
        front = Front(
            account=self.account,
            sagemaker=SageMakerApi(
                self._training.operations,
                self._endpoints.operations,
                self._studio.operations,
                resources.operations(self.account),
                experiments.operations(self.account),
                model_registry.operations(self.account),
                tags.operations(self.account),
            ),
            invoke=self._endpoints.invoke,
            alarms=self._endpoints.alarms,
            autoscaling=self._endpoints.autoscaling,
            builds=Builds(self.account),
            instances=Instances(self.account),
            others=others,
            journal=journal,
            quotas=ServiceQuotasApi(quotas, region, self.account.account_id),
            faults=faults,
            control=Control(
                folder,
                faults,
                tally,
                quotas,
                self._training.interrupt,
                self._studio.watch.leave,
                self.isolation,
                self._recovered,
                role_sessions.decided,
            ),
            tally=tally,
            signatures=signatures,
            role_sessions=role_sessions,
            public_apis=self._public_apis,
            entrance=self._studio.entrance,
            recovered=self._recovered,
        )
        self._front = _Server(front, listening["front"], threads=THREADS)
        self.supabase_url, self._keys = f"http://127.0.0.1:{ports['supabase']}", Keys.of(state)
        self._supabase = Supabase(folder / "supabase", self._keys, faults)
        self._storage = _Server(self._supabase, listening["supabase"], threads=32, largest_body=LARGEST_OBJECT)

    @property
    def bucket(self) -> str:
        """The default bucket, named as the SageMaker SDK names it."""
        return f"sagemaker-{self.account.region}-{self.account.account_id}"

    def recover(self, deadline: float) -> None:
        """Take up what an earlier process left behind. S3 must be healthy; raises when it takes no object by `deadline`."""
        s3, probe = self.account.s3, ".trainmaster"
        while True:
            try:
                with suppress(s3.exceptions.BucketAlreadyOwnedByYou, s3.exceptions.BucketAlreadyExists):
                    s3.create_bucket(Bucket=self.bucket)
                s3.put_object(Bucket=self.bucket, Key=probe, Body=b"an empty one would need no volume")
                s3.delete_object(Bucket=self.bucket, Key=probe)
                break
            except (BotoCoreError, ClientError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self._training.recover()
        self._endpoints.recover()
        self._studio.recover()
        self._public_apis.replay()
        self._recovered.set()

    def environment(self) -> dict[str, str]:
        """What a client needs in its environment."""
        config = self.account.state / "sagemaker-sdk.yaml"
        config.write_text(_SDK_CONFIG.format(bucket=self.bucket))
        return {
            **{name: value for name, value in self.account.client_environment.items() if name.startswith("AWS_")},
            "TRAINMASTER_EXECUTION_ROLE_ARN": self._role_arn,
            "TRAINMASTER_BUCKET": self.bucket,
            "TRAINMASTER_API_URL": f"{self.account.endpoint_url}/restapis/{{id}}/{{stage}}/_user_request_",
            "TRAINMASTER_POLL_SECONDS": "0.5",
            "TRAINMASTER_USER_ID": self._keys.user_id,
            "SUPABASE_URL": self.supabase_url,
            "SUPABASE_SERVICE_ROLE_KEY": self._keys.service_role_key,
            "SUPABASE_JWT_SECRET": self._keys.jwt_secret,
            "TRAINMASTER_HTTP_TOKEN": self._keys.session(f"{self.supabase_url}/auth/v1"),
            "TRAINMASTER_STATE_DIR": str(self.account.state),
            **dict.fromkeys(_ELSEWHERE, ""),
            "SAGEMAKER_ADMIN_CONFIG_OVERRIDE": str(config),
            "NO_PROXY": os.environ["NO_PROXY"],
            "no_proxy": os.environ["no_proxy"],  # where both are set, Python reads this one
        }

    def close(self) -> None:
        """End every job and endpoint process, then stop answering."""
        self._training.close()
        self._endpoints.close()
        self._studio.close()
        self._public_apis.close()
        self._front.close()
        self._storage.close()
        self._supabase.close()
        self._inside.close()
        self._records.close()


class _Inside:
    """The other services for our own use: no faults, and threads of its own."""

    def __init__(self, others: OtherServices, signatures: Signatures) -> None:
        self._others, self._signatures = others, signatures

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        call = Call.of(Request(environ))
        try:
            self._signatures.check(call)
            response = self._others.answer(call)
        except AwsError as error:
            response = call.refused(error)
        return response(environ, start_response)


class _Server:
    """Bodies come whole, on disk where they are large, before the application is called; half ones never reach it."""

    def __init__(
        self, app: WSGIApplication, listening: socket.socket, *, threads: int, largest_body: int = 1 << 30
    ) -> None:
        self._server: Any = waitress.create_server(
            app,
            sockets=[listening],
            threads=threads,
            connection_limit=1000,
            asyncore_use_poll=True,
            ident=None,
            max_request_body_size=largest_body + (1 << 20),  # a form has a little around its file
            recv_bytes=1 << 18,
        )
        threading.Thread(target=self._server.run, name=f"http-{listening.getsockname()[1]}", daemon=True).start()

    def close(self) -> None:
        self._server.close()


def _log_to(path: Path) -> None:
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger("trainmaster").setLevel(logging.INFO)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns of every moment without a free thread
