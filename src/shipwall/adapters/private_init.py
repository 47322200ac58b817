"""What runs inside the private engine's namespaces: the script of their first process, and the registry's configuration.

The script reads SW_... from its environment (`PrivateEngine` sets them) and makes nothing that outlives the namespaces.
"""

from __future__ import annotations

# First process of the namespaces. It stays, so that there is somebody to reap the orphans of containers.
INIT = r"""
set -eu
mount --make-rprivate /
resolv=$(readlink -f /etc/resolv.conf || echo /etc/resolv.conf)
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/docker/plugins /run/lock "$(dirname "$resolv")"
for folder in /etc /opt; do # the daemons leave files there; an overlay takes them, and it ends with us
  mkdir -p "/run/shipwall/upper$folder" "/run/shipwall/work$folder"
  mount -t overlay -o "lowerdir=$folder,upperdir=/run/shipwall/upper$folder,workdir=/run/shipwall/work$folder" overlay "$folder"
done
mkdir -p /etc/docker
mount -t tmpfs -o mode=755 tmpfs /etc/docker
[ -e "$resolv" ] || : > "$resolv"
mount --bind "$SW_STATE/plugins" /run/docker/plugins
mount --bind "$SW_ENGINE/resolv.conf" "$resolv"
ip link set lo up
iptables -w -A INPUT -p tcp --dport "$SW_PORT" -i lo -j ACCEPT
iptables -w -A INPUT -p tcp --dport "$SW_PORT" -i "$SW_TAP" -j ACCEPT
iptables -w -A INPUT -p tcp --dport "$SW_PORT" -j REJECT
"$SW_REGISTRY" serve "$SW_ENGINE/registry.yml" >> "$SW_ENGINE/registry.log" 2>&1 &
registry=$!
"$SW_DOCKERD" -H "unix://$SW_ENGINE/engine.sock" --config-file "$SW_ENGINE/daemon.json" --data-root "$SW_ENGINE/data" \
  --exec-root /run/docker-exec --pidfile /run/docker.pid --cgroup-parent "$SW_CGROUP" --exec-opt native.cgroupdriver=cgroupfs \
  --bip "$SW_BRIDGE" --default-address-pool "$SW_POOL" --shutdown-timeout 5 --log-level warn >> "$SW_ENGINE/dockerd.log" 2>&1 &
dockerd=$!
trap 'kill -TERM $dockerd 2>/dev/null || :' TERM
trap 'kill -HUP $dockerd 2>/dev/null || :' HUP
while kill -0 $dockerd 2>/dev/null; do wait $dockerd || :; done
kill -TERM $registry 2>/dev/null || :
"""

REGISTRY_YML = """version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}, maintenance: {{uploadpurging: {{enabled: false}}}}}}
http: {{addr: "{address}"}}
"""
