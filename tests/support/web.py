"""A web server (nginx) at every address of a namespace, on port 80; its page is the Host it was asked for."""

import subprocess

from tests.support.tcpclient import connects
from tests.support.waiting import wait_until

_CONF = """\
daemon off;
master_process off;
user root;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_header_timeout 600s;
    keepalive_timeout 600s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 0.0.0.0:80 backlog=2048;
        listen [::]:80 ipv6only=on backlog=2048;
        location / {{ default_type text/plain; return 200 "hello from $host\\n"; }}
    }}
}}
"""


class Web:
    def __init__(self, namespace, folder):
        conf = folder / "nginx.conf"
        conf.write_text(_CONF.format(folder=folder))
        self._process = namespace.popen("nginx", "-p", str(folder), "-c", str(conf), stderr=subprocess.DEVNULL)
        wait_until(lambda: connects(namespace, "127.0.0.1", 80), what="nginx")

    def close(self):
        self._process.terminate()
        self._process.wait(10)
