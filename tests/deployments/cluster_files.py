# ruff: noqa: N815 - names are those of Kubernetes
"""What a Compose file and the manifests of Kubernetes may say, as far as ours say anything: whatever is misspelt or misplaced is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from prefect.settings import Settings as PrefectSettings
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


def prefect_variables() -> set[str]:
    """Every variable that Prefect reads, and those of prefect-redis, which is not installed here."""
    found = {"DO_NOT_TRACK"}

    def walk(model: type[BaseModel]) -> None:
        for name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                walk(field.annotation)
                continue
            found.add(f"{model.model_config.get('env_prefix', '')}{name}".upper())
            alias = field.validation_alias
            found.update(str(one).upper() for one in getattr(alias, "choices", [alias]) if isinstance(one, str))

    walk(PrefectSettings)
    redis = ("URL", "HOST", "PORT", "SOCKET_TIMEOUT", "SOCKET_CONNECT_TIMEOUT")
    return found | {f"PREFECT_REDIS_{what}_{one}" for what in ("MESSAGING", "WORKER_CLEANUP_QUEUE") for one in redis}


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EnvFile(Strict):
    path: str
    required: bool


class Dependency(Strict):
    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]
    restart: bool = False


class Healthcheck(Strict):
    test: list[str] | None = None
    disable: bool = False
    interval: str | None = None
    timeout: str | None = None
    retries: int | None = None
    start_period: str | None = None


class Logging(Strict):
    driver: str
    options: dict[str, str]


class Deploy(Strict):
    replicas: int


class ComposeService(Strict):
    """https://github.com/compose-spec/compose-spec/blob/main/05-services.md"""

    image: str
    command: list[str] | None = None
    user: str | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    env_file: list[str | EnvFile] = Field(default_factory=list)
    depends_on: dict[str, Dependency] = Field(default_factory=dict)
    healthcheck: Healthcheck | None = None
    ports: list[str] = Field(default_factory=list)
    volumes: list[str] = Field(default_factory=list)
    tmpfs: list[str] = Field(default_factory=list)
    read_only: bool = False
    restart: Literal["no", "always", "on-failure", "unless-stopped"]
    init: bool
    security_opt: list[str]
    cap_drop: list[str]
    cap_add: list[str] = Field(default_factory=list)
    logging: Logging
    deploy: Deploy | None = None
    mem_limit: str | None = None
    shm_size: str | None = None
    stop_grace_period: str | None = None


class ComposeFile(BaseModel):
    """With extensions, whose names begin with x-."""

    model_config = ConfigDict(extra="allow")
    name: str
    services: dict[str, ComposeService]
    volumes: dict[str, None]


Text = dict[str, str]


class Metadata(Strict):
    name: str
    labels: Text = Field(default_factory=dict)
    annotations: Text = Field(default_factory=dict)


class Selector(Strict):
    matchLabels: Text


class ServiceAccount(Strict):
    apiVersion: Literal["v1"]
    kind: Literal["ServiceAccount"]
    metadata: Metadata
    automountServiceAccountToken: bool


class ConfigMap(Strict):
    apiVersion: Literal["v1"]
    kind: Literal["ConfigMap"]
    metadata: Metadata
    data: Text


class ServicePort(Strict):
    name: str
    port: int
    targetPort: str


class ServiceSpec(Strict):
    selector: Text
    ports: list[ServicePort]


class KubernetesService(Strict):
    apiVersion: Literal["v1"]
    kind: Literal["Service"]
    metadata: Metadata
    spec: ServiceSpec


class DisruptionSpec(Strict):
    maxUnavailable: int
    selector: Selector


class PodDisruptionBudget(Strict):
    apiVersion: Literal["policy/v1"]
    kind: Literal["PodDisruptionBudget"]
    metadata: Metadata
    spec: DisruptionSpec


class Reference(Strict):
    name: str
    key: str | None = None


class EnvFrom(Strict):
    configMapRef: Reference | None = None
    secretRef: Reference | None = None


class ValueFrom(Strict):
    secretKeyRef: Reference


class Env(Strict):
    name: str
    value: str | None = None
    valueFrom: ValueFrom | None = None


class HttpGet(Strict):
    path: str
    port: str


class Probe(Strict):
    httpGet: HttpGet
    periodSeconds: int
    timeoutSeconds: int
    failureThreshold: int


class Amounts(Strict):
    cpu: Annotated[str, Field(pattern=r"^\d+m?$")]
    memory: Annotated[str, Field(pattern=r"^\d+[MG]i$")]


class Resources(Strict):
    requests: Amounts
    limits: Amounts


class ContainerSecurity(Strict):
    allowPrivilegeEscalation: Literal[False]
    readOnlyRootFilesystem: Literal[True]
    capabilities: dict[Literal["drop"], list[str]]


class ContainerPort(Strict):
    name: str
    containerPort: int


class Mount(Strict):
    name: str
    mountPath: str
    subPath: str


class Container(Strict):
    name: str
    image: str
    command: list[str]
    ports: list[ContainerPort]
    envFrom: list[EnvFrom]
    env: list[Env]
    resources: Resources
    startupProbe: Probe
    livenessProbe: Probe
    readinessProbe: Probe
    securityContext: ContainerSecurity
    volumeMounts: list[Mount]


class Volume(Strict):
    name: str
    emptyDir: Text


class PodSecurity(Strict):
    runAsNonRoot: Literal[True]
    runAsUser: int
    runAsGroup: int
    fsGroup: int
    seccompProfile: Text


class Spread(Strict):
    maxSkew: int
    topologyKey: str
    whenUnsatisfiable: Literal["ScheduleAnyway", "DoNotSchedule"]
    labelSelector: Selector


class PodSpec(Strict):
    serviceAccountName: str
    automountServiceAccountToken: bool
    terminationGracePeriodSeconds: int
    securityContext: PodSecurity
    topologySpreadConstraints: list[Spread]
    containers: list[Container]
    volumes: list[Volume]


class PodMetadata(Strict):
    labels: Text


class PodTemplate(Strict):
    metadata: PodMetadata
    spec: PodSpec


class Rolling(Strict):
    maxUnavailable: int
    maxSurge: int


class Strategy(Strict):
    type: Literal["RollingUpdate"]
    rollingUpdate: Rolling


class DeploymentSpec(Strict):
    replicas: int
    selector: Selector
    strategy: Strategy
    template: PodTemplate


class Deployment(Strict):
    apiVersion: Literal["apps/v1"]
    kind: Literal["Deployment"]
    metadata: Metadata
    spec: DeploymentSpec


Manifest = Annotated[
    ServiceAccount | ConfigMap | KubernetesService | PodDisruptionBudget | Deployment, Field(discriminator="kind")
]
MANIFESTS: TypeAdapter[list[Manifest]] = TypeAdapter(list[Manifest])


def texts(value: Any) -> list[str]:
    """Every string in a document, keys apart."""
    if isinstance(value, dict):
        return [text for one in value.values() for text in texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in texts(one)]
    return [value] if isinstance(value, str) else []
