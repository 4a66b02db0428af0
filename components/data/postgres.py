"""PostgreSQL. What its image needs, and where that is written: docs/data-stores.md."""

from __future__ import annotations

import pulumi
from pulumi_kubernetes.core.v1 import ConfigMapVolumeSourceArgs, ContainerArgs, VolumeArgs, VolumeMountArgs

from cloudmart.settings.data import PASSWORD, SUPERUSER_PASSWORD, PostgresSettings, StoreMode, pooler_name
from components.connection import Connection, SecretRef
from components.custom import CustomObject
from components.data import cloudnative_pg, store
from components.data.store import ExporterNeeds, OperatorArgs, Pod, StoreComponent
from components.password import checksum_of
from components.specs import cnpg

_USER = 999
_DATA = "/var/lib/postgresql"
#: The 18 image's own default, written out: with an image before 18, which keeps its data elsewhere, the data would land
#: outside the claim. Changes with the major version, after pg_upgrade; the server refuses another major's folder.
_PGDATA = f"{_DATA}/18/docker"
_SUPERUSER_KEY = SUPERUSER_PASSWORD
#: So labelled, a Secret's change is taken up at once.
_RELOADED = {"cnpg.io/reload": "true"}

_SQL_FOLDER = "/etc/cloudmart"
_SQL = "application.sql"

#: Run at every start, so that the server has the passwords of the Secret whatever the claim remembers. psql reads them
#: from its environment: they are in no argument and no file. The role may read statistics, for the exporter.
_APPLICATION_SQL = """\
\\set ON_ERROR_STOP on
\\getenv superuser_password POSTGRES_PASSWORD
\\getenv role APP_USER
\\getenv password APP_PASSWORD
\\getenv database APP_DATABASE
ALTER ROLE postgres PASSWORD :'superuser_password';
SELECT format('CREATE ROLE %I', :'role')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \\gexec
ALTER ROLE :"role" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
GRANT pg_monitor TO :"role";
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'role')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \\gexec
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
"""


class Postgres(StoreComponent[PostgresSettings]):
    """``cloudmart:data:Postgres``: a :class:`StoreComponent`.

    Mode `single`: RandomPassword ``postgres-superuser-password``. Services connect as an ordinary role that owns its
    database. The superuser's password is for people, and stands in the same Secret.

    Mode `operator`: CloudNativePG's Cluster ``postgres``, Pooler ``postgres-pooler``, Database ``postgres-cloudmart``,
    for each caller a RandomPassword, a Secret ``postgres-<caller>-credentials`` and a DatabaseRole
    ``postgres-<caller>``; where there are backups an ObjectStore and a ScheduledBackup ``postgres``; NetworkPolicies
    ``postgres-pooler`` and ``postgres-instances``. ``postgres-credentials`` is the database's owner.
    """

    TOKEN = "cloudmart:data:Postgres"  # noqa: S105 - a type token
    COMPONENT = "database"

    @classmethod
    def connection_of(cls, name: str, settings: PostgresSettings, caller: str | None = None) -> Connection:
        external = settings.external
        host = external.host if external else store.service_host(name)
        port = settings.client_port
        return Connection(
            env={
                "DB_HOST": host,
                "DB_PORT": str(port),
                "DB_NAME": settings.database,
                "DB_USER": settings.user,
                # The server in the cluster has no certificate; the network policy and a mesh are what protects the way.
                "DB_SSLMODE": external.ssl_mode if external else "disable",
                **cloudnative_pg.connection_env(settings, caller),
            },
            secret_env={
                "DB_PASSWORD": SecretRef(
                    name=store.credentials_name(name, caller if settings.mode is StoreMode.OPERATOR else None),
                    key=store.PASSWORD_KEY,
                )
            },
            host=host,
            port=port,
            pod_selector=None if external else settings.pod_labels(name),
            cidrs=external.cidrs if external else (),
        )

    def _files(self) -> dict[str, str]:
        return {_SQL: _APPLICATION_SQL}

    def _secret_data(self, password: pulumi.Input[str]) -> dict[str, pulumi.Input[str]]:  # noqa: ARG002
        data: dict[str, pulumi.Input[str]] = {"username": self._settings.user}
        if self._settings.mode is StoreMode.SINGLE:
            superuser = self._generated(SUPERUSER_PASSWORD)
            self._own_passwords.append(superuser)
            self._own_checksums["checksum/superuser"] = checksum_of(superuser)
            data[_SUPERUSER_KEY] = superuser.value
        return data

    def _operator(self, args: OperatorArgs) -> None:
        name, settings, callers = self._name, self._settings, [caller.name for caller in self._args.callers]
        if args.party is None:
            raise ValueError(f"{name}: mode operator needs the operator's pods")
        pooler = pooler_name(name)
        secret = self._secret(self._generated(PASSWORD), "kubernetes.io/basic-auth", _RELOADED)
        own = self._credentials_of_callers(_RELOADED)
        wired = (self._args.scrapers, self._args.home, args.api_server_cidrs)
        policies = [
            self._policy(
                pooler, cloudnative_pg.pooler_policy(name, settings, self._args.callers, *wired, self._args.mesh_ports)
            ),
            self._policy(f"{name}-instances", cloudnative_pg.instances_policy(name, settings, args.party, *wired)),
        ]
        served = [args.release] if args.release else []
        stores: list[pulumi.Resource] = []
        if backup := settings.cluster.backup:
            stores.append(
                CustomObject(
                    name,
                    cnpg.OBJECT_STORE,
                    metadata=self._metadata(name),
                    spec=cloudnative_pg.object_store(backup),
                    opts=pulumi.ResourceOptions(parent=self, depends_on=served),
                )
            )
        cluster = CustomObject(
            name,
            cnpg.CLUSTER,
            metadata=self._metadata(name),
            spec=cloudnative_pg.cluster(
                name, settings, self.labels, store.credentials_name(name), self._args.priority_class
            ),
            opts=pulumi.ResourceOptions(
                parent=self,
                protect=settings.protect,
                # The operator deletes the claims with the cluster. `destroy` leaves both, as it leaves the namespace.
                retain_on_delete=True,
                depends_on=[secret, *own.values(), *policies, *served, *stores, *self._args.guards],
            ),
        )
        after = pulumi.ResourceOptions(parent=self, depends_on=[cluster])
        if backup:
            CustomObject(
                name,
                cnpg.SCHEDULED_BACKUP,
                metadata=self._metadata(name),
                spec=cloudnative_pg.scheduled_backup(name, backup),
                opts=after,
            )
        roles = [
            CustomObject(
                f"{name}-{caller}",
                cnpg.DATABASE_ROLE,
                metadata=self._metadata(f"{name}-{caller}"),
                spec=cloudnative_pg.role(
                    name, settings, caller, store.credentials_name(name, caller), callers=len(callers)
                ),
                opts=pulumi.ResourceOptions(parent=self, depends_on=[cluster]),
            )
            for caller in callers
        ]
        CustomObject(
            f"{name}-{settings.database}",
            cnpg.DATABASE,
            metadata=self._metadata(f"{name}-{settings.database.replace('_', '-')}"),
            spec=cloudnative_pg.database(name, settings, callers),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[cluster, *roles]),
        )
        CustomObject(
            pooler,
            cnpg.POOLER,
            metadata=self._metadata(pooler),
            spec=cloudnative_pg.pooler(name, settings, self.labels, len(callers), self._args.priority_class),
            opts=after,
        )
        self._client_service(settings.pod_labels(name))

    def _pod(self, config: str) -> Pod:
        settings = self._settings
        scratch = {
            # The socket and its lock file.
            "/var/run/postgresql": store.scratch("8Mi"),
            # Here-documents of the entrypoint.
            "/tmp": store.scratch("64Mi"),  # noqa: S108 - the container's
            # Parallel queries share memory here; a container's default of 64 MiB fails the larger of them. It counts
            # towards the memory limit, so it may not have all of it.
            "/dev/shm": store.scratch(f"{settings.shared_buffers}Mi", in_memory=True),  # noqa: S108
        }
        # Over TCP, because while the entrypoint prepares a new data folder its temporary server listens on the socket
        # only; `pg_isready` needs no password.
        ready = [
            "pg_isready",
            "--host=127.0.0.1",
            f"--port={self._settings.server_port}",
            "--username=postgres",
            "--dbname=postgres",
        ]
        # Over the socket, where the server asks the kernel who is calling instead of asking for a password.
        provide = f"psql --no-psqlrc --quiet --username=postgres --dbname=postgres --file={_SQL_FOLDER}/{_SQL}"
        return Pod(
            user=_USER,
            data_path=_DATA,
            scratch=scratch,
            volumes=[VolumeArgs(name="config", config_map=ConfigMapVolumeSourceArgs(name=config))],
            # "Fast shutdown" (the image's stop signal is SIGINT) ends with a checkpoint of the dirty buffers.
            grace_seconds=120,
            container=ContainerArgs(
                name=self._name,
                image=settings.image.reference,
                image_pull_policy="IfNotPresent",
                # To the image's entrypoint, which makes the data folder the first time.
                args=[
                    "postgres",
                    "-c",
                    f"shared_buffers={settings.shared_buffers}MB",
                    "-c",
                    # What the planner may assume to be cached, by the server or by the kernel: three quarters, the
                    # manual's upper advice.
                    f"effective_cache_size={settings.shared_buffers * 3}MB",
                    "-c",
                    f"max_connections={settings.max_connections}",
                    "-c",
                    "password_encryption=scram-sha-256",
                ],
                env=[
                    *store.plain(
                        {
                            "PGDATA": _PGDATA,
                            "POSTGRES_USER": "postgres",
                            "POSTGRES_DB": "postgres",
                            # initdb would trust everybody in the pod. `peer` trusts the server's own user only.
                            "POSTGRES_INITDB_ARGS": "--auth-local=peer --auth-host=scram-sha-256",
                            "APP_USER": settings.user,
                            "APP_DATABASE": settings.database,
                        }
                    ),
                    store.from_secret("POSTGRES_PASSWORD", self._name, _SUPERUSER_KEY),
                    store.from_secret("APP_PASSWORD", self._name, store.PASSWORD_KEY),
                ],
                ports=[self._server_port],
                resources=store.resources(settings.resources),
                # Five minutes: after a crash the server replays its log before it lets anybody in.
                startup_probe=store.exec_probe(
                    ["bash", "-c", f"{' '.join(ready)} && {provide}"], period=5, timeout=5, failures=60
                ),
                readiness_probe=store.exec_probe(ready, period=5, timeout=3, failures=3),
                # Patient: a restart under load costs a recovery, and mends little that waiting does not. A server that
                # turns clients away (1) replays its log after a backend's crash: a restart would have it begin again.
                liveness_probe=store.exec_probe(
                    ["bash", "-c", f"{' '.join(ready)} || test $? -eq 1"], period=10, timeout=5, failures=6
                ),
                security_context=store.locked_down(),
                volume_mounts=[
                    *self._mounts(_DATA, scratch),
                    VolumeMountArgs(name="config", mount_path=_SQL_FOLDER, read_only=True),
                ],
            ),
        )

    def _exporter(self) -> ExporterNeeds:
        settings = self._settings
        return ExporterNeeds(
            user=65534,  # `nobody`, by number
            env=[
                *store.plain(
                    {
                        "DATA_SOURCE_URI": f"127.0.0.1:{settings.server_port}/{settings.database}?sslmode=disable",
                        "DATA_SOURCE_USER": settings.user,
                    }
                ),
                store.from_secret("DATA_SOURCE_PASS", self._name, store.PASSWORD_KEY),
            ],
        )
