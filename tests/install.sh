# shellcheck shell=bash
# Sourced by tests/run: installs what is missing, and says what. Debian, as root.

# need COMMAND PACKAGE...: notes the packages that bring a command which is not there.
missing=()
need() {
  local command=$1
  shift
  command -v "$command" >/dev/null || missing+=("$@")
}

need_rust_build() {
  command -v cargo >/dev/null || { echo "Rust is missing: version 1.95 or newer, with cargo" >&2; return 1; }
  # For the C parts of aws-lc and jemalloc, and as linker.
  need cc gcc libc6-dev
  need make make
}

# What the tests of TLS ask the proxy with, besides their own client.
need_tls_clients() {
  need openssl openssl
  need curl curl
}

need_instances() {
  need redis-server redis-server
  need node nodejs
  need npm npm
}

# What judges the units.
need_systemd() {
  need systemd-analyze systemd
}

# What the tests of the PROXY protocol speak with.
need_proxies() {
  need haproxy haproxy
  need nginx nginx-light
  [[ -e /usr/lib/nginx/modules/ngx_stream_module.so ]] || missing+=(libnginx-mod-stream)
}

# The clients of the end-to-end tests: a browser, Python with venv, and what rust_socketio is built with.
need_clients() {
  need chromium chromium
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
  pkg-config --exists openssl 2>/dev/null || missing+=(pkg-config libssl-dev)
}

install_missing() {
  ((${#missing[@]})) || return 0
  echo "installing with apt-get: ${missing[*]}"
  if ((EUID != 0)); then
    echo "that needs root; or install them yourself" >&2
    return 1
  fi
  # Debian starts the services that it installs; nothing here wants a Redis on its usual port.
  local policy=/usr/sbin/policy-rc.d log status=0
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
  else
    policy=
  fi
  log=$(mktemp)
  {
    apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
  } >"$log" 2>&1 </dev/null || status=$?
  ((status == 0)) || tail -n 30 "$log" >&2
  rm -f "$log" ${policy:+"$policy"}
  missing=()
  return "$status"
}

# The Node packages of tests/e2e, exactly as its lock file names them.
install_node_packages() {
  local have=tests/e2e/node_modules/.package-lock.json
  if [[ $have -nt tests/e2e/package-lock.json && $have -nt tests/e2e/package.json ]]; then return 0; fi
  echo "installing the Node packages of tests/e2e"
  (cd tests/e2e && npm ci --no-progress --loglevel=error </dev/null)
}

# The Python packages of tests/e2e, exactly as its list names them: versions and hashes, nothing else, nothing built.
install_python_packages() {
  local venv=tests/e2e/venv list=tests/e2e/requirements.txt
  if [[ $venv/complete -nt $list ]] && $venv/bin/python -c '' 2>/dev/null; then return 0; fi
  echo "installing the Python packages of tests/e2e"
  rm -rf "$venv"
  python3 -m venv "$venv"
  echo '*' >"$venv/.gitignore"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary=:all: -r "$list" </dev/null
  touch "$venv/complete"
}
