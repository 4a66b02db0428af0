"""Stands in for a service that has no image yet, and really works: unprivileged nginx that answers both probe paths."""

from __future__ import annotations

from cloudmart.settings import Service

#: Group and user of nginxinc/nginx-unprivileged (`ARG UID=101`, `ARG GID=101` in its Dockerfile).
USER = 101
FOLDER = "/etc/placeholder"
FILE = "nginx.conf"
COMMAND_ARGS = ("nginx", "-c", f"{FOLDER}/{FILE}", "-g", "daemon off;")


def nginx_conf(service: Service) -> str:
    """A whole nginx.conf. It writes below ``/tmp`` only, so that the root file system can be read-only.

    One worker: `auto` would start one a CPU of the *node*, which passes a small memory limit on a large machine.
    """
    paths = sorted({service.liveness.path, service.readiness.path} - {"/"})
    probes = "\n".join(f'    location = {path} {{ access_log off; return 200 "ok\\n"; }}' for path in paths)
    return f"""worker_processes 1;
pid /tmp/nginx.pid;
error_log /dev/stderr notice;
events {{ worker_connections 1024; }}
http {{
  client_body_temp_path /tmp/client_temp;
  proxy_temp_path /tmp/proxy_temp;
  fastcgi_temp_path /tmp/fastcgi_temp;
  uwsgi_temp_path /tmp/uwsgi_temp;
  scgi_temp_path /tmp/scgi_temp;
  access_log /dev/stdout;
  server {{
    listen {service.container_port};
    server_tokens off;
    default_type text/plain;
{probes}
    location / {{ return 200 "$hostname\\n"; }}
  }}
}}
"""
